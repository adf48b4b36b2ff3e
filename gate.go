package pools

import "sync/atomic"

// gate says what is unusual, so that pops and pushes see it at the cost of one
// load. It is written only under the pool's lock. Its zero value lets no Pop
// pass, so that a zero Pool is detected off the fast path.
type gate struct{ bits atomic.Uint32 }

const (
	gateMade      uint32 = 1 << iota // by New
	gateStarving                     // the oldest waiter with time has waited for too long: no Pop comes before those that wait
	gateQueueing                     // somebody waits for a push
	gateRacing                       // a woken waiter is on its way
	gateClosed                       // Close was called
	gatePaused                       // Pause was called: nothing is lent
	gateShrunk                       // Size was lowered, and surplus connections are open
	gateTracking                     // pops record their stacks or goroutines
	gateCareful                      // pushes must consider Broken, Reset, MaxUses, or CheckAfter Always
	gateObserving                    // an Observer is told of waits
	gateSweeping                     // idle connections are about to be stale, suspected or resting, slice by slice
	gateProving                      // a first use that ends well proves that the server is up
	gateResting                      // some connections rest; set for too long does no harm

	popsStop   = gateStarving | gateClosed | gatePaused | gateSweeping         // a newcomer may not take an idle connection
	popsLook   = gateMade | popsStop | gateTracking                            // a Pop takes the fast path if gateMade alone is set
	pushesSlow = popsStop&^gatePaused | gateShrunk | gateCareful | gateProving // a Push decides under the lock
	pushesLook = gateQueueing | gateStarving | gateClosed | gateShrunk         // a Push that has made its slot idle has more to do
)

func (g *gate) load() uint32 { return g.bits.Load() }

// has reports whether one of these bits is set.
func (g *gate) has(bits uint32) bool { return g.bits.Load()&bits != 0 }

// set sets or clears bits. Under the lock.
func (g *gate) set(bits uint32, on bool) {
	now := g.bits.Load()
	switch {
	case on && now&bits != bits:
		g.bits.Store(now | bits)
	case !on && now&bits != 0:
		g.bits.Store(now &^ bits)
	}
}

// mayTake reports whether a newcomer may take an idle connection.
func (g *gate) mayTake() bool { return g.load()&(gateMade|popsStop) == gateMade }
