package sqlpools

import "testing"

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
		{"-- never ends", true, true},
	} {
		p := &physical{begun: test.was}
		p.ran(test.query)
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
