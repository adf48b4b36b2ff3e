package sqlpools

import (
	"cmp"
	"strings"
)

// ran notes whether a statement that succeeded has begun a transaction or ended one.
// It goes by the first words of each statement in the text.
func (p *physical) ran(query string) {
	for query != "" {
		statement, rest, _ := strings.Cut(query, ";")
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
		}
		query = rest
	}
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
	if _, rest, _ := strings.Cut(query, ";"); strings.TrimSpace(rest) != "" {
		p.unsure = true
	}
}

// words are those that matter, by themselves: a lookup makes no copy.
var words = func() map[string]string {
	all := map[string]string{}
	for word := range strings.FieldsSeq("BEGIN START COMMIT END ROLLBACK ABORT TRAN TRANSACTION WORK DEFERRED IMMEDIATE EXCLUSIVE CONCURRENT ISOLATION READ TO AND CHAIN") {
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
