// Package poolsdebug is a page that shows pools while they run: who holds
// what, who waits, since when, and what happened last.
//
//	mux.Handle("/debug/pools/", poolsdebug.New(group, poolsdebug.Options{}))
//
// It costs nothing while nobody looks. While somebody does, it takes a
// snapshot of each pool a second: some microseconds, and about a tenth of one
// for each connection.
//
// The page needs no other host and no build step. The same is there for
// programs and terminals: "json" and "text" beside it, and whoever does not
// ask for HTML, as curl does not, gets the text at once.
//
// Who sees the page sees names, what errors say, and, with
// Settings.TrackHolders, stacks of the program: serve it where you serve net/http/pprof, to nobody else. It changes
// nothing, unless Options.AllowActions says so.
package poolsdebug
