// Package poolsdebug is a page that shows pools while they run: who holds
// what, who waits, since when, and what happened last.
//
//	mux.Handle("/debug/pools/", poolsdebug.New(group, poolsdebug.Options{}))
//
// It costs nothing while nobody looks. While somebody does, it takes a
// snapshot of each pool a second: some microseconds, and about a tenth of one
// for each connection.
//
// The page needs no other host and no build step. Programs and terminals find
// the same in "json" and "text" beside it. A request that does not ask for HTML,
// as one of curl, gets the text at once. In JSON, the names of durations
// end with their unit, as took_ns and MaxNanoseconds; settings are written as "1m30s".
//
// The page shows names, the texts of errors and, with Settings.TrackHolders,
// stacks of the program. Serve it only where you would serve net/http/pprof. It
// changes nothing unless Options.AllowActions is set.
//
// The page answers to IP addresses and to localhost. To open it under another
// name, add the name to Options.Hosts:
//
//	poolsdebug.New(group, poolsdebug.Options{Hosts: []string{"debug.example.com"}})
//
// At most 100 pages are live at once. When another one opens, the client address
// with the most pages loses its newest one, so one client cannot lock out the
// others. All who come through one proxy count as one client.
package poolsdebug
