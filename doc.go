// Package pools holds long-lived connections that one goroutine may use at a
// time, and lends them to any number of goroutines.
//
// # Words
//
// A [Pool] has a name and Size slots. A slot is vacant or has one connection.
// What [Connector].Open returned is the connection's resource: a *pgx.Conn, a
// net.Conn, an interpreter. A pop takes a connection, a push gives it back;
// between the two lies a lease, a [Conn]. To use is to pop, call a function
// and push. To destroy is to close a connection instead of pushing it, to
// detach is to keep it for good.
//
// # First program
//
// A pool needs a name, a way to open a connection, and a size:
//
//	pool, err := pools.New("cache", pools.OpenFunc(func(ctx context.Context) (net.Conn, error) {
//		return new(net.Dialer).DialContext(ctx, "tcp", "localhost:11211")
//	}), pools.Settings{Size: 10})
//	if err != nil {
//		return err
//	}
//	defer pool.Close(context.Background())
//
//	return pool.Use(ctx, func(conn net.Conn) error {
//		// conn is this goroutine's alone until the function returns.
//		return ask(conn)
//	})
//
// Pop and PushErr do the same where a function will not do:
//
//	conn, err := pool.Pop(ctx)
//	if err != nil {
//		return err
//	}
//	err = pools.Discard(nil) // until ask has returned: a panic closes conn
//	defer func() { conn.PushErr(err) }()
//	err = ask(conn.Resource())
//	return err
//
// A plain defer conn.Push() is for resources that cannot break.
//
// # Waiting
//
// A Pop that finds nothing idle waits for whichever comes first: a connection
// that is pushed, or any open that succeeds. It ends when its ctx ends, after
// Settings.WaitTimeout, when the pool is closed, or when the server is down
// and nothing else could serve it. Its error is a [*PopError].
//
// A ctx that has ended gets no connection. No goroutine waits while a
// connection is idle. A waiter can be overtaken by running goroutines for
// about a millisecond; then order is first come, first served.
//
// # Opening
//
// Connections are opened when somebody waits, or by [Pool.Fill], in goroutines
// of the pool. The end of a Pop's ctx does not stop the open that it caused:
// the connection goes to the next waiter or becomes idle. Two opens may run at
// once at first; the number doubles with each success and is one after a
// failure. When an open has failed with all its tries, the server counts as
// down: one open at a time is tried, with growing pauses, until one succeeds.
//
// # Ownership
//
// A connection has at most one lease at a time. A lease ends once, by the
// first of [Conn.Push], [Conn.PushErr], [Conn.Destroy] and [Conn.Detach], for
// all copies of the Conn; the others return [ErrNotHeld] and do nothing, and
// Conn.Resource panics. A lease that [Pool.RevokeAll] ended is one that the
// holder may still end: its Push closes the connection and returns
// [ErrRevoked]. Nothing in Go stops a resource from being used after
// its lease: do not keep it.
//
// # Broken connections
//
// A connection on which an answer may still be on its way must not be lent
// again. Push says that all is well. Use and [Conn.PushErr] hand the error to
// Connector.Broken, which decides. Without a Broken, a connection is closed
// after a context error, a network or system error (any error in the chain
// with a method Timeout() bool), io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe
// and driver.ErrBadConn. A panic or Goexit in Use, and [Discard], close it in
// any case.
//
// # Time
//
// A function of the connector that has not returned a tenth of its timeout,
// at most 100 ms, after its ctx ended is abandoned, for Go cannot stop it. Its
// slot is free again, unless Settings.Strict is set or Size calls are
// abandoned already; it is counted, and cleaned up behind when it returns.
//
// # Keeping
//
// Lifetimes, idle times, leaks and checks of idle connections are the business
// of a keeper that looks at all slots while something is open: once a second,
// or four times within the shortest time it keeps. The hot path reads no
// clock. A pool without connections runs no goroutine and sets no timer,
// unless somebody waits, MinIdle asks for connections, or the server is down.
//
// MaxLifetime has a jitter that only shortens. Whatever its reason, a
// connection is not closed under its holder but when it comes back, and at
// most half of the idle ones go at one look. A check that fails, or a
// connection that breaks in use, makes the other idle ones suspect: they are
// checked before they are lent. Once checks have failed for CheckTimeout,
// waiters do not wait for more of them: new connections are opened in the
// place of those suspected.
//
// # Steering
//
// [Pool.Configure] changes any setting while the pool runs, Size too.
// [Pool.Refresh] replaces all connections; while the server refuses new ones
// it keeps the old ones. [Pool.Pause] lets Pops wait until [Pool.Resume].
// [Pool.RevokeAll] ends all leases. [Pool.Connections] says who holds what.
//
// # Settings
//
// Zero means the default. "Kept" is the precision: the keeper is at most a
// quarter of the shortest of its times late, and at most a second.
//
//	essential
//	Size                 required  exact       what the server grants
//	WaitTimeout          30 s      exact       the longest a Pop waits, beside its ctx
//	Logger               silent                lost leases, leaks, misuse, failing opens
//
//	frequent
//	MaxLifetime          30 min    10 % early  shorter than what firewalls and servers allow
//	IdleTimeout          10 min    keeper      give connections back in quiet times
//	MinIdle              0         1 s         ready before they are needed
//	OpenTimeout          10 s      exact       an open with all its tries and pauses
//	ReconnectAttempts    3         exact       tries per open
//	ReconnectSleep       1 s       exact       the longest first pause between tries
//	CheckAfter           5 s       keeper      idle for longer: Check first
//	CheckTimeout         1 s       exact       a check, and all of a Pop's that fail
//	MaxWaiting           no limit  exact       fail at once instead of queueing
//	LeakAfter            never     keeper      report who holds a connection for so long
//	TrackHolders         off                   stacks of holders; 3 to 20 µs a Pop
//
//	rare
//	KeepAlive            never     keeper      check idle connections now and then
//	MaxUses              no limit  exact       connections that grow with use; 50 ns a Push
//	MaxOpensPerSecond    no limit  exact       a server that minds logins
//	CloseTimeout         5 s       exact       a slow server
//	ResetTimeout         5 s       exact       a slow server
//	Strict               off                   never Size+1 connections, even while a call hangs
//	Lost                 close     2 s, a GC   report only: holders that keep just the resource
//
// # Lost leases
//
// When a Conn has become unreachable without a Push, the pool notices after
// two looks of the keeper and a collection by the garbage collector: it logs
// and counts it, and closes the connection ([LostClose]) or not
// ([LostReport]). A Conn must therefore be reachable for as long as its
// resource is in use; a deferred Push sees to that, and so does Use. It is a
// safety net and not a way to give connections back.
//
// # Memory
//
// In the terminology of the Go memory model, a Push happens before ("is
// synchronized before") the return of the Pop that receives the same
// connection. The return of Connector.Open happens before the return of the
// first Pop that receives its connection, and so do the returns of Check and
// Reset. The end of a lease happens before the Close of its connection.
//
// # Callbacks
//
// The functions of the connector, the Logger and the function given to
// Configure run without the pool's lock and may use the pool.
//
// # Testing
//
// A pool works in a testing/synctest bubble: its timers and waits follow the
// bubble's clock. It must be made and closed in it.
package pools
