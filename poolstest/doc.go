// Package poolstest helps to test code that uses a pool, and the pool itself.
//
// [New] makes a pool on a [Server]: a connector whose every function can be
// told to fail, wait, hang, panic or call runtime.Goexit, and that fails the
// test when a rule of the pool is broken: more connections open than Size, a
// connection with two users, closed twice, or closed under its user. When the
// test ends the pool is closed, and nothing may be left open.
//
// [Pop] starts a pop in a goroutine of its own and asks what became of it, so
// that a test reads like a timing diagram:
//
//	synctest.Test(t, func(t *testing.T) {
//		pool, server := poolstest.New(t, pools.Settings{Size: 1})
//		server.Open.Next(poolstest.Delay(time.Second))
//
//		a := poolstest.Pop(t, pool) // opens
//		b := poolstest.Pop(t, pool)
//		a.Waits()
//		time.Sleep(time.Second)
//		a.Has()
//		b.Waits()
//		a.Push()
//		b.Has()
//		b.Push()
//	})
//
// [TestConnector] tests a connector of your own: whether it opens, closes,
// checks, resets and aborts as a pool relies on, also in bad hours. A [Subject]
// says how to use the connector and what to do to its server; each further field
// makes more of the suite run:
//
//	Kill             connections that the server ends, also while they are idle
//	Silence, Stop    a network that loses everything; a server's stopped process
//	Useless          connections that are open and of no use
//	Dirty, Clean     what one user leaves in the session
//	Begin, Write,    work that one user leaves open: it must not take the next
//	  Written        user's with it, nor end in silence
//	Refused, Block   errors that break nothing; uses that Abort interrupts
//	Failing          opens that must fail: a wrong password, a login that may
//	                 not do what Reset does
//	Secrets          passwords, which no error may contain
//	IsOpen           connections that are left behind
//
// [Network] is a network in memory to write connectors and their servers against,
// and to spoil.
//
// Everything here works in a testing/synctest bubble, where a test of minutes
// takes no time and waiting for ever is a failure; Waits, Has and Fails need
// one.
package poolstest
