// Package pools is a generic connection pool. It holds long-lived connections,
// each used by one goroutine at a time, and lends them to any number of
// goroutines.
//
// # Words
//
// A [Pool] has a name and Size slots. A slot is vacant or has one connection.
// The value that [Connector].Open returned is the connection's resource: a
// *pgx.Conn, a net.Conn, an interpreter. A pop takes a connection and a push
// gives it back. Between the two, the caller holds a lease, a [Conn]. A use is
// a pop, a function call and a push. To destroy a connection is to close it
// instead of pushing it; to detach it is to keep it for good.
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
//		// Only this goroutine uses conn until the function returns.
//		return ask(conn)
//	})
//
// When a callback does not fit, use Pop and PushErr:
//
//	conn, err := pool.Pop(ctx)
//	if err != nil {
//		return err
//	}
//	err = pools.Discard(nil) // until ask returns, so that a panic closes conn
//	defer func() { conn.PushErr(err) }()
//	err = ask(conn.Resource())
//	return err
//
// A plain defer conn.Push() is only for resources that cannot break.
//
// # Waiting
//
// A Pop that finds no idle connection waits for a connection that is pushed or
// for any open that succeeds, whichever comes first. The wait ends when its
// ctx ends, after Settings.WaitTimeout, when the pool is closed, or when the
// server is down and nothing else could serve the Pop. A Pop that fails
// returns a [*PopError].
//
// A Pop whose ctx has ended gets no connection. No goroutine waits while a
// connection is idle. Running goroutines can overtake a waiter for about a
// millisecond; after that, the order is FIFO.
//
// # Opening
//
// The pool opens connections in its own goroutines, when a goroutine waits or
// when [Pool.Fill] is called. The open continues even if the ctx of the Pop
// that caused it ends: the connection goes to the next waiter or becomes idle.
// At first, two opens may run at once. This limit doubles with each success
// and drops to one after a failure. When an open has failed with all its
// tries, the server counts as down: the pool then tries one open at a time,
// with growing pauses, until one succeeds.
//
// # Ownership
//
// A connection has at most one lease at a time. A lease ends once, for all
// copies of the Conn, with the first call of [Conn.Push], [Conn.PushErr],
// [Conn.Destroy] or [Conn.Detach]. Later calls return [ErrNotHeld] and do
// nothing, and Conn.Resource panics. When [Pool.RevokeAll] has ended a lease,
// the holder still gives the connection back once: its Push closes the
// connection and returns [ErrRevoked]. Go cannot prevent the use of a resource
// after its lease has ended, so do not keep the resource.
//
// # Broken connections
//
// A connection must not be lent again while a reply to an earlier request may
// still arrive on it. Push says that the connection is fine. Use and
// [Conn.PushErr] pass the error to Connector.Broken, which decides. Without a
// Broken, the pool closes a connection after a context error, a network or
// system error (any error in the chain with a method Timeout() bool), io.EOF,
// io.ErrUnexpectedEOF, io.ErrClosedPipe and driver.ErrBadConn. A panic or
// Goexit in Use, and [Discard], always close it.
//
// # Time
//
// Go cannot stop a function that hangs. A connector function is therefore
// abandoned if it has not returned some time after its ctx ended: a tenth of
// its timeout, at most 100 ms. Its slot becomes free, unless Settings.Strict
// is set or Size calls are already abandoned. The pool counts the call, and
// cleans up after it when it returns.
//
// # Keeping
//
// A keeper is responsible for lifetimes, idle times, leaks and checks of idle
// connections. While anything is open, it looks at all slots once a second, or
// four times within the shortest time it keeps. The hot path reads no clock. A
// pool without connections runs no goroutine and sets no timer, unless a
// goroutine waits, MinIdle asks for connections, or the server is down.
//
// The jitter of MaxLifetime only shortens it. Whatever the reason, no
// connection is closed under its holder; it closes when it is returned. One
// look closes at most half of the idle connections. A check that fails, or a
// connection that breaks in use, makes the other idle connections suspect:
// they are checked before they are lent. Once checks have failed for
// CheckTimeout, waiters do not wait for further checks: the pool opens new
// connections in place of the suspect ones.
//
// # Steering
//
// [Pool.Configure] changes any setting while the pool runs, including Size.
// [Pool.Refresh] replaces all connections; while the server refuses new ones,
// it keeps the old ones. [Pool.Pause] makes Pops wait until [Pool.Resume].
// [Pool.RevokeAll] ends all leases. [Pool.Connections] lists the connections
// and their holders.
//
// # Settings
//
// Zero means the default. Where the precision is "keeper", the keeper is late
// by at most a quarter of the shortest time it keeps, and by at most a second.
//
//	setting              default   precision   purpose
//
//	essential
//	Size                 required  exact       the number of connections the server grants
//	WaitTimeout          30 s      exact       maximum wait; the ctx may end it sooner
//	Logger               silent                lost leases, leaks, misuse, failing opens
//
//	frequent
//	MaxLifetime          30 min    10 % early  less than firewalls and servers allow
//	IdleTimeout          10 min    keeper      release connections in quiet times
//	MinIdle              0         1 s         connections ready before they are needed
//	OpenTimeout          10 s      exact       one open with all its tries and pauses
//	ReconnectAttempts    3         exact       tries per open
//	ReconnectSleep       1 s       exact       upper bound of the first pause between tries
//	CheckAfter           5 s       keeper      after this idle time, Check first
//	CheckTimeout         1 s       exact       one Check, and all failing Checks of a Pop
//	MaxWaiting           no limit  exact       fail at once instead of queueing
//	LeakAfter            never     keeper      report holders that keep a connection longer
//	TrackHolders         off                   record the stacks of holders; 3 to 20 µs per Pop
//
//	rare
//	KeepAlive            never     keeper      check idle connections periodically
//	MaxUses              no limit  exact       connections that grow with use; 50 ns per Push
//	MaxOpensPerSecond    no limit  exact       servers on which logins are expensive
//	CloseTimeout         5 s       exact       slow servers
//	ResetTimeout         5 s       exact       slow servers
//	Strict               off                   never Size+1 connections, even while a call hangs
//	Lost                 close     2 s, a GC   report only, if holders keep just the resource
//
// # Lost leases
//
// When a Conn becomes unreachable without a Push, the pool notices after two
// looks of the keeper and a garbage collection. It logs and counts the lost
// lease, and closes the connection ([LostClose]) or leaves it open
// ([LostReport]). A Conn must therefore be reachable for as long as its
// resource is in use; a deferred Push ensures this, and so does Use. This is a
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
// The functions of the connector, the Logger and the function passed to
// Configure run without the pool's lock and may use the pool.
//
// # Testing
//
// A pool works in a testing/synctest bubble: its timers and waits follow the
// bubble's clock. Make and close the pool inside the bubble.
package pools
