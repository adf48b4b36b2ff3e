package sqlpools

import (
	"cmp"
	"strings"
)

// ran notes whether a text that succeeded has begun a transaction or ended one, or has
// changed what other texts mean. It goes by the first words of each statement in it.
func (p *physical) ran(query string) {
	for query != "" {
		statement, rest, sure := cutStatement(query)
		p.unsure = p.unsure || !sure
		word, then := firstWord(statement)
		next, _ := firstWord(then)
		switch word {
		case "BEGIN":
			switch next { // not a block of statements
			case "", "TRAN", "TRANSACTION", "WORK", "DEFERRED", "IMMEDIATE", "EXCLUSIVE", "CONCURRENT", "ISOLATION", "READ":
				p.begun = true
			}
		case "START":
			p.begun = p.begun || next == "TRANSACTION"
		case "COMMIT", "END":
			p.begun = p.begun && chains(then)
		case "ROLLBACK", "ABORT":
			p.begun = p.begun && (next == "TO" || chains(then))
		case "USE", "PRAGMA", "ATTACH", "DETACH", "EXECUTE":
			p.changes()
		case "SET":
			if changesMeanings(next, then) {
				p.changes()
			}
		}
		query = rest
	}
}

// changesMeanings reports whether a text may mean something else after a SET, as after
// MySQL's SET sql_mode. PostgreSQL looks at search_path and at the role by itself when a
// prepared statement is used.
func changesMeanings(next, then string) bool {
	switch next {
	case "LOCAL", "TRANSACTION", "ROLE", "SEARCH":
		return false
	}
	then = strings.TrimLeft(then, " \t\r\n")
	return !strings.HasPrefix(then, "@") || strings.HasPrefix(then, "@@") // a variable of the user's
}

// changes notes that the user may have changed what a text means on this connection.
func (p *physical) changes() {
	p.changed = true
	p.statements.state++
}

// cutStatement cuts a text after its first statement. sure is false if that depends on
// the server: on whether a backslash quotes the end of a string.
func cutStatement(text string) (statement, rest string, sure bool) {
	sure = true
	if strings.IndexByte(text, ';') < 0 {
		return text, "", true
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == ';':
			return text[:i], text[i+1:], sure
		case c == '\'' || c == '"' || c == '`':
			n := i + 1
			for ; n < len(text) && text[n] != c; n++ {
				if text[n] == '\\' && n+1 < len(text) && c != '`' {
					n++
					sure = sure && text[n] != c
				}
			}
			i = n
		case c == '-' && strings.HasPrefix(text[i:], "--"), c == '#' && startsLine(text[:i]):
			i = after(text, i, "\n")
		case c == '/' && strings.HasPrefix(text[i:], "/*") && !strings.HasPrefix(text[i:], "/*!"):
			i = after(text, i+2, "*/")
		case c == '$':
			if tag := dollarTag(text[i:]); tag != "" {
				i = after(text, i+len(tag), tag)
			}
		}
	}
	return text, "", sure
}

// after returns the place of the last byte of the next end after from.
func after(text string, from int, end string) int {
	if n := strings.Index(text[min(from, len(text)):], end); n >= 0 {
		return from + n + len(end) - 1
	}
	return len(text)
}

func startsLine(before string) bool {
	before = strings.TrimRight(before, " \t")
	return before == "" || strings.HasSuffix(before, "\n")
}

// dollarTag returns the tag that quotes a string of PostgreSQL's, as $$ or $a$.
func dollarTag(text string) string {
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '$':
			return text[:i+1]
		case c == '_', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', i > 1 && '0' <= c && c <= '9':
		default:
			return ""
		}
	}
	return ""
}

// chains reports whether what comes after a COMMIT or ROLLBACK begins the next
// transaction: [WORK | TRANSACTION] AND CHAIN.
func chains(text string) bool {
	word, rest := firstWord(text)
	if word == "WORK" || word == "TRANSACTION" {
		word, rest = firstWord(rest)
	}
	next, _ := firstWord(rest)
	return word == "AND" && next == "CHAIN"
}

// failed notes that a text has failed. If it has several statements, one that went
// before may have begun a transaction.
func (p *physical) failed(query string) {
	if _, rest, sure := cutStatement(query); !sure || strings.TrimSpace(rest) != "" {
		p.unsure = true
		p.changes()
	}
}

// words are those that matter, by themselves: a lookup makes no copy.
var words = func() map[string]string {
	all := map[string]string{}
	for word := range strings.FieldsSeq("BEGIN START COMMIT END ROLLBACK ABORT TRAN TRANSACTION WORK DEFERRED IMMEDIATE EXCLUSIVE CONCURRENT ISOLATION READ TO AND CHAIN " +
		"USE PRAGMA ATTACH DETACH EXECUTE SET LOCAL ROLE SEARCH") {
		all[word] = word
	}
	return all
}()

// firstWord returns the first word of a statement in upper case, after comments, and
// what comes after it. A word that does not matter is "-".
func firstWord(text string) (word, rest string) {
	for {
		text = strings.TrimLeft(text, " \t\r\n(")
		switch {
		case strings.HasPrefix(text, "--"), strings.HasPrefix(text, "#"):
			_, text, _ = strings.Cut(text, "\n")
			continue
		case strings.HasPrefix(text, "/*!"): // MySQL runs what is in it
			text = strings.TrimLeft(text[len("/*!"):], "0123456789")
			continue
		case strings.HasPrefix(text, "/*"):
			_, text, _ = strings.Cut(text, "*/")
			continue
		}
		end := strings.IndexFunc(text, func(r rune) bool { return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z') })
		if end < 0 {
			end = len(text)
		}
		if text == "" {
			return "", ""
		}
		var upper [len("TRANSACTION")]byte
		if end > len(upper) || end == 0 {
			return "-", ""
		}
		for i := range end {
			upper[i] = text[i] &^ ('a' - 'A')
		}
		return cmp.Or(words[string(upper[:end])], "-"), text[end:]
	}
}
