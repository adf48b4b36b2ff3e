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
// millisecond; after that, with equal deadlines or none, the order is FIFO. With
// different deadlines, the oldest waiter and the one with the earliest deadline
// take turns, so a waiter is overtaken one for one. Under overload, a waiter whose
// ctx leaves it less time than a typical use takes is passed over: it gets a
// connection when nobody else wants it, and now and then as a probe.
//
// # Opening
//
// The pool opens connections in its own goroutines: when a goroutine waits, for a
// [Pool.Fill] or a [Pool.Refresh], and when MinIdle lacks connections. The open
// continues even if the ctx of the Pop that caused it ends: the connection goes to
// the next waiter or becomes idle. (Refresh, RevokeAll and Close do end the opens
// that are running.)
//
// At first, two opens may run at once. This limit doubles with each success
// and drops to one after a failure. When an open has failed with all its
// tries, the server counts as down: the pool then tries one open at a time
// until one succeeds. While Pops or Fills ask, the pauses between two tries are at
// most MaxReconnectSleep; for MinIdle and Refresh alone they grow up to 30 s; and
// while nothing is wanted there is no try. After a [Permanent] error the next try
// comes after 30 s, if somebody asks.
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
// io.ErrUnexpectedEOF, io.ErrClosedPipe and driver.ErrBadConn. It does not after
// an error about a file (missing, exists, not permitted) that is not in a
// *net.OpError. It also closes a connection whose resource says that it is of no
// use (IsClosed, IsClosing, IsValid or Err). A panic or Goexit in Use, and
// [Discard], always close it. When five uses of a connection on end have failed
// with other errors, the pool checks it, or closes it if it cannot; see
// [Connector].
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
// What was idle through a whole look leaves the fast path: a Pop takes it under
// the lock, some 100 ns later, and reads the clock first. So CheckAfter,
// IdleTimeout and MaxLifetime hold for it even if the process was stopped or
// frozen, and by the wall clock, even if the machine was suspended. For
// connections that were in use a moment before, a program that knows of such
// times (a serverless handler) calls [Pool.Suspect] or [Group.Suspect].
//
// # Steering
//
// [Pool.Configure] changes any setting while the pool runs, including Size.
// [Pool.Refresh] replaces all connections; while the server refuses new ones,
// it keeps the old ones. [Pool.Pause] makes Pops wait until [Pool.Resume].
// [Pool.RevokeAll] ends all leases, [Pool.Revoke] some. [Pool.Connections] lists
// the connections and their holders.
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
//	MaxReconnectSleep    2 s       exact       longest pause between tries while somebody asks
//	WaitWhileDown        0         exact       wait through outages younger than this
//	CheckAfter           5 s       keeper      after this idle time, Check first
//	CheckTimeout         1 s       exact       one Check, and the pool's budget for failing ones
//	MaxWaiting           no limit  exact       fail at once instead of queueing; NoQueue: for no holder
//	RefuseLate           off       estimate    refuse at once who would be served too late
//	MaxQueueDelay        never     0.1 s       under overload, bound waits without a deadline
//	LeakAfter            never     keeper      report holders that keep a connection longer
//	FailUnfinished       off                   Use returns an error if it leaves a transaction open
//	Observer             none                  functions called for events and uses
//	TrackHolders         off                   record the stacks of holders; 1 to 3 µs per Pop
//	TrackGoroutines      off                   record their goroutines; 5 to 50 µs per Pop
//	ProfileHolders       off                   the profile "pools" of pprof; 5 to 15 µs per Pop
//
//	rare
//	KeepAlive            never     keeper      check idle connections periodically
//	MaxUses              no limit  exact       connections that grow with use; 50 ns per Push
//	MaxOpensPerSecond    no limit  exact       servers on which logins are expensive
//	CloseTimeout         5 s       exact       slow servers
//	ResetTimeout         5 s       exact       slow servers
//	Strict               off                   never Size+1 connections, even while a call hangs
//	KeepLost             off       2 s, a GC   report only, if holders keep just the resource
//
// # Lost leases
//
// When a Conn becomes unreachable without a Push, the pool notices after two
// looks of the keeper and a garbage collection. It logs and counts the lost
// lease, and closes the connection, or leaves it open with KeepLost. A Conn must
// therefore be reachable for as long as its resource is in use; a deferred Push
// ensures this, and so does Use. This is a safety net and not a way to give
// connections back.
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
