package sqlpools

import (
	"strings"
	"testing"
)

func TestTransactionsByStatements(t *testing.T) {
	for _, test := range []struct {
		query string
		was   bool
		want  bool
	}{
		{"BEGIN", false, true},
		{"begin", false, true},
		{"  BEGIN ;", false, true},
		{"BEGIN TRANSACTION ISOLATION LEVEL SERIALIZABLE", false, true},
		{"BEGIN ISOLATION LEVEL SERIALIZABLE", false, true},
		{"BEGIN WORK", false, true},
		{"BEGIN IMMEDIATE", false, true},
		{"BEGIN TRAN", false, true},
		{"-- a comment\n/* and another */ BEGIN", false, true},
		{"# MySQL's comment\nSTART TRANSACTION READ ONLY", false, true},
		{"START SLAVE", false, false},
		{"START SLAVE", true, true},
		{"BEGIN NOT ATOMIC SELECT 1", false, false},
		{"BEGIN TRY SELECT 1 END TRY", false, false},
		{"BEGIN; INSERT INTO a VALUES (1); COMMIT", false, false},
		{"BEGIN; INSERT INTO a VALUES (1)", false, true},
		{"COMMIT", true, false},
		{"END", true, false},
		{"END TRANSACTION", true, false},
		{"ROLLBACK", true, false},
		{"ROLLBACK TO SAVEPOINT a", true, true},
		{"rollback to a", true, true},
		{"ABORT", true, false},
		{"SELECT 'BEGIN'", false, false},
		{"BEGINNING", false, false},
		{"INSERT INTO a VALUES (1)", true, true},
		{"", true, true},
		{";;", true, true},
		{"/* never ends", false, false},
		{"insert into a values ('dear all; begin transaction')", false, false},
		{`insert into a values ("dear all; begin transaction")`, false, false},
		{"select 'it''s'; begin", false, true},
		{"-- it's; here\nbegin", false, true},
		{"# it's; here\nbegin", false, true},
		{"select 1 -- it's\n; begin", false, true},
		{"/* it's; here */ begin", false, true},
		{"do $$ begin; end $$; begin", false, true},
		{"do $a$ begin; $$ $a$", false, false},
		{"select $1; begin", false, true},
		{"create trigger a before insert on b for each row set new.c = ';'; begin", false, true},
		{"select '", true, true},
		{"select 'a\\'; begin", false, false}, // MySQL's string has not ended
		{"-- never ends", true, true},
	} {
		p := &physical{begun: test.was}
		p.ran(test.query)
		if strings.Contains(test.query, `\`) && !p.unsure {
			t.Errorf("%q is sure", test.query)
		}
		if p.begun != test.want {
			t.Errorf("%q after %v: %v", test.query, test.was, p.begun)
		}
	}
}

// Any text ends, and leaves a state.
func FuzzTransactionsByStatements(f *testing.F) {
	for _, seed := range []string{"BEGIN", "/*", "--", "a;b", "(select 1)", "\xff", "BEGIN/**/WORK"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		p := &physical{}
		p.ran(query)
		p.ran("COMMIT")
		if p.begun {
			t.Error("begun after a COMMIT")
		}
	})
}
