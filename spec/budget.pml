/*
 * Two pools and one budget of permits, for the model checker spin. README.md says what is covered, ./run checks it all.
 *
 * What pool.pml has proved of one pool is not proved again. Here a pool is its lock, the numbers of its connections in each state, and the
 * number of its waiters. Two things happen without the pool's lock, as in the code: a pop takes what is idle, and a push makes idle what was
 * used and then looks at the gate. So under the lock each look at what is idle is a step of its own, and taking it is a compare-and-swap.
 *   - `mu[p]` is the lock of pool p. The budget's lock `bmu` is taken while at most one pool's is held; under it nothing waits and no other
 *     lock is taken. Therefore all that is done under it is one step.
 *   - What is done under a pool's lock is done by one process, Locked, on behalf of whoever has locked it: the lock lets no two do it at
 *     once. That one may be found doing its next step before the lock is free, which only adds interleavings.
 *   - Users of one pool are alike, so they are numbers, too. Which of its waiters is served is the matter of pool.pml.
 * A comment `step: name` marks a step of the protocol. `#ifdef NO_...` takes one step out: a mutant.
 */

#ifndef USERS0
#define USERS0 2         /* pops from pool 0 */
#endif
#ifndef USERS1
#define USERS1 1         /* from pool 1. BOTH: those who have got one from pool 0 pop from pool 1 before they push it */
#endif
#ifndef N
#define N 2              /* permits */
#endif
#ifndef LOW
#define LOW 0            /* what the budget's limit is lowered to */
#endif
#ifndef SIZE
#define SIZE 2           /* of each pool */
#endif
#ifndef WINDOW
#define WINDOW 1         /* opens of a pool at once */
#endif
#ifndef LEAST0
#define LEAST0 0
#endif
#ifndef LEAST1
#define LEAST1 0
#endif
#ifndef WARM
#define WARM 0           /* so many connections are idle in pool 0 at the start */
#endif
#ifndef LOWERS
#define LOWERS 0         /* 2: the budget's limit is lowered, and raised again */
#endif
#ifndef LIMITS
#define LIMITS 0         /* 2: Limit of pool 0 is lowered to 0, and raised again */
#endif
#ifndef CANCELS
#define CANCELS 0        /* waits that may be cancelled */
#endif
#ifndef BREAKS
#define BREAKS 0         /* uses that may break their connections */
#endif
#ifndef FAILS
#define FAILS 0          /* opens of pool 0 that may fail: the pause after that lasts until the users of pool 1 are through */
#endif
#ifndef HANGS
#define HANGS 0          /* opens and closes that may be abandoned: they end when all users are through */
#endif
#ifndef QUANTA
#define QUANTA 0         /* how often a steal may have to wait for its quantum */
#endif

/* The pools. Read without the lock: idle, shrunk, queued, closed. */
bool mu[2];
bool back[2], fresh[2], broken[2], settles[2];   /* who has locked it has a connection to give back; it was just opened; it is broken; he is to settle */
byte begin[2];                    /* users that have not popped yet */
byte queued[2];                   /* that wait */
byte granted[2], refused[2];      /* tokens that are sent and not yet taken */
byte holding[2];                  /* users with a connection */
byte pushing[2], looking[2];      /* they have looked at the gate and will push fast; have pushed and will look at the gate */
byte idle[2];
byte opening[2], closing[2];
byte hung[2];                     /* abandoned opens and closes: their slots are free, their permits are not */
byte size[2] = SIZE, lim[2] = SIZE;   /* Size, and the pool's own Limit */
bool shrunk[2];                   /* the gate's bit: pushes decide under the lock */
bool closed[2], pausing[2];

#define true_least(p) (p == 0 -> LEAST0 : LEAST1)
#ifdef NO_LEAST
#define least(p)   0
#else
#define least(p)   true_least(p)
#endif
#define alive(p)   (holding[p] + pushing[p] + granted[p] + back[p] + idle[p])
#define taken(p)   (alive(p) + opening[p] + closing[p])
#define room(p)    (taken(p) < size[p] && taken(p) + hung[p] < lim[p])
#define too_many(p) (closed[p] || surplus(p))
#define surplus(p) (alive(p) > size[p] || alive(p) + hung[p] > lim[p])

/* The budget, under bmu. */
bool bmu;
byte limit = N;
byte out;                /* permits that are out: of both pools */
byte held[2];            /* of each: its connections, opens and closes, what is abandoned, and its credit */
byte credit[2];          /* permits that it was given and does not know of yet */
byte wants[2];           /* permits that it would use at once and could not have */
byte turn;               /* who of two that are short is first */
byte leaving[2];         /* permits that come back when a close ends */
byte gives[2];           /* connections that it is asked to close */
bool poked[2];           /* a goroutine is on its way that locks the pool and settles */
bool waits_quantum;      /* the alarm is set to when a steal may pay */

#define stays(p)  (held[p] - leaving[p])                   /* what it has, without what it gives back already */
#define yields(p) (stays(p) - credit[p] - hung[p] - gives[p])    /* what it can be asked for */
#define share     (limit / 2)                              /* weights are equal */
#define forced    (out - leaving[0] - leaving[1] - limit)  /* above 0: too many are out, whoever wants them */
#define lack      (wants[0] + wants[1] + forced)
#define lack_beside(p) (wants[1-p] + forced)               /* what p can be asked for */
#define may_ask(p) (yields(p) > 0 && stays(p) - gives[p] > least(p) && gives[p] < lack_beside(p))
#define over(p)   (stays(p) > least(p) && stays(p) > share)
#define firm(p)   (gives[p] > 0 && (forced > 0 || over(p)))   /* gives up what comes back, though its own waiters want it */
#define soft(p)   (gives[p] > 0 && stays(p) > least(p) && queued[p] == 0)   /* gives up what none of its own wants */
#ifdef RESERVES          /* what a pool lacks of its least share is kept free for it */
#define unfilled(p) (held[p] < least(p) && !closed[p] -> least(p) - held[p] : 0)
#define may_have(p) (out + (held[p] < least(p) -> 0 : unfilled((1 - (p)))) < limit)
#else
#define may_have(p) (out < limit)
#endif

/* What only the model knows. */
byte ended1, ended0;     /* BOTH: uses of pool 1, and of pool 0, that are over */
byte lowers = LOWERS;
bool closes[2];
byte limits = LIMITS;
byte cancels = CANCELS, breaks = BREAKS, fails = FAILS, hangs = HANGS, quanta = QUANTA;
bool clears[2], between[2];       /* of mutants */
byte passed[2];          /* permits that went to the other while this pool was short and not over its share */
byte overtook[2];        /* connections that it lent although it had to give one up, and its gate said so */
hidden byte v, b;        /* scratch inside single steps */

#define exist(p)  (alive(p) + opening[p] + closing[p] + hung[p])          /* what the server may see */

/* ---- the budget: all of it under bmu, which is free ---- */

#ifdef NO_POKE_FOR_PERMIT
#define poke_for_permit(p) skip
#else
#define poke_for_permit(p) poked[p] = true
#endif
#ifdef NO_POKE_FOR_GIVE
#define poke_for_give(p) skip
#else
#define poke_for_give(p) poked[p] = true
#endif

inline give_permit(p) {          /* to a pool that is short, or asks */
	assert(out < limit && exist(0) + exist(1) + credit[0] + credit[1] <= limit);
	out++; held[p]++;
#ifdef TURNS
	passed[p] = 0;
	if :: wants[1-p] > 0 && !over(1-p) -> passed[1-p]++; assert(passed[1-p] <= 1) :: else fi
#endif
}

#ifdef NO_ROTATE
#define behind(p) skip
#else
#define behind(p) turn = 1 - p
#endif

inline ask_to_give(q) {
	if
	:: forced <= gives[0] + gives[1] && quanta > 0 -> quanta--; waits_quantum = true; b = 0     /* it would not pay yet */
	:: gives[q]++; poke_for_give(q)
	fi
}

inline balance() {               /* step: balance: after every change */
	/* step: pass_permit: what is free goes to who is short, in turns */
	do
	:: wants[turn] > 0 && may_have(turn) -> v = turn; credit[v]++; wants[v]--; give_permit(v); behind(v); poke_for_permit(v)
	:: !(wants[turn] > 0 && may_have(turn)) && wants[1-turn] > 0 && may_have(1-turn) ->
	   v = 1 - turn; credit[v]++; wants[v]--; give_permit(v); behind(v); poke_for_permit(v)
	:: else -> break
	od;
	/* step: take_back: nobody is asked for more than others lack, nor all for more than is lacking. Who is not over its share first */
	do
#ifndef NO_TAKE_BACK_FROM_SHORT
	:: gives[0] > 0 && gives[0] > lack_beside(0) -> gives[0]--
	:: gives[1] > 0 && gives[1] > lack_beside(1) -> gives[1]--
#endif
#ifndef NO_TAKE_BACK_FROM_EMPTY
	:: gives[0] > 0 && yields(0) < 0 -> gives[0]--
	:: gives[1] > 0 && yields(1) < 0 -> gives[1]--
#endif
	:: gives[0] + gives[1] > 0 && lack < gives[0] + gives[1] ->
	   if
	   :: gives[0] > 0 && (gives[1] == 0 || !over(0)) -> gives[0]--
	   :: else -> gives[1]--
	   fi
	:: else -> break
	od;
	/* step: call: what is lacking and not yet asked for, of who is over its share, else of who may have more than it needs */
	b = 1; waits_quantum = false;
	do
	:: b && lack > gives[0] + gives[1] ->
	   if
	   :: may_ask(0) && stays(0) - gives[0] > share -> ask_to_give(0)
	   :: may_ask(1) && stays(1) - gives[1] > share -> ask_to_give(1)
	   :: else ->
	      if
	      :: may_ask(0) && wants[0] == 0 -> ask_to_give(0)
	      :: may_ask(1) && wants[1] == 0 -> ask_to_give(1)
	      :: else ->
	         if
	         :: forced > gives[0] + gives[1] && yields(0) > 0 -> ask_to_give(0)      /* the limit is below the least shares */
	         :: forced > gives[0] + gives[1] && yields(1) > 0 -> ask_to_give(1)
	         :: else -> b = 0
	         fi
	      fi
	   fi
	:: else -> break
	od; b = 0; v = 0;
	if :: !firm(0) -> overtook[0] = 0 :: else fi;
	if :: !firm(1) -> overtook[1] = 0 :: else fi;
	assert(!(wants[0] > 0 && may_have(0)) && !(wants[1] > 0 && may_have(1)))
}

inline begin_close(p) {          /* step: leaves: the permit is on its way back */
	if
	:: too_many(p) || broken[p]
	:: else ->                     /* it was asked to */
	   assert(wants[0] + wants[1] + out - closing[0] - closing[1] - limit > 0);
	   assert(forced > 0 || stays(p) > true_least(p));
	   if :: wants[1-p] > 0 -> behind(p) :: else fi      /* step: rotate: what was taken from it is not for it */
	fi;
	back[p] = false; broken[p] = false; closing[p]++;
#ifdef PUT_TOO_EARLY
	out--; held[p]--;
#else
#ifndef LEAVES_IN_SECRET
	leaving[p]++;
#endif
#endif
	balance()
}

/* step: ask: once in each settle, with the number of opens that would begin now. What it may not begin it is short of; 0: it is not short. */
#define could_open(p, n) (!closed[p] && !pausing[p] && queued[p] > opening[p] + n && opening[p] + n < WINDOW && taken(p) + n < size[p] && taken(p) + hung[p] + n < lim[p])
inline ask(p) {
	b = 0;
	do :: could_open(p, b) -> b++ :: else -> break od;
#ifdef NO_CREDIT_BACK
	skip;
#else
	do :: credit[p] > (out > limit -> 0 : b) -> credit[p]--; out--; held[p]-- :: else -> break od;    /* step: credit_back */
#endif
	do
	:: b > 0 && credit[p] > 0 -> credit[p]--; opening[p]++; b--
	:: b > 0 && credit[p] == 0 && may_have(p) -> give_permit(p); opening[p]++; b--
	:: else -> break
	od;
	if
	:: b > 0 && wants[p] == 0 && wants[1-p] == 0 -> turn = p
	:: else
	fi;
#ifdef NO_WITHDRAW
	if :: b > 0 -> wants[p] = b :: else fi;
#elif defined(TWO_SECTIONS)
	if :: b > 0 && wants[p] == 0 -> between[p] = true :: else -> wants[p] = b fi;
#else
	wants[p] = b;                                              /* step: withdraw, if 0 */
#endif
	if :: wants[p] == 0 -> passed[p] = 0 :: else fi;
	balance()
}

/* ---- a pool, under its lock ---- */

#define under_bmu !bmu
#define quiet(p) (begin[p] + queued[p] + granted[p] + refused[p] + holding[p] + pushing[p] + looking[p] == 0)   /* its users are through */

#ifdef NO_GIVE_ON_RETURN
#define spares(p) back[p]
#else
#ifdef STEALS_FRESH
#define spares(p) false
#else
#define spares(p) (fresh[p] && queued[p] > 0 && forced <= 0)   /* step: fresh: what was just opened for a waiter serves it first */
#endif
#endif
#define must_leave(p) (too_many(p) || broken[p] || firm(p) && !spares(p))
#ifdef NO_SOFT
#define may_leave(p)  false
#else
#define may_leave(p)  soft(p)
#endif
#define some(p)       (back[p] || settles[p] && idle[p] > 0)
#ifdef TURNS
inline lends(p) {
	if
	:: firm(p) && shrunk[p] && !fresh[p] -> overtook[p]++; assert(overtook[p] <= N)
	:: else
	fi
}
#else
#define lends(p) skip
#endif

#ifdef NO_ASK_ON_PUSH
#define asks_anew(p) false
#else
#define asks_anew(p) (wants[p] > 0)   /* step: ask_anew: a push served the waiter for which it was short */
#endif
#ifdef NO_GATE_FOR_GIVES
#define says_shrunk(p) shrunk[p] = surplus(p)
#else
#define says_shrunk(p) shrunk[p] = surplus(p) || gives[p] > 0
#endif
#ifdef GATE_LATE
#define first_gate(p) skip
#else
#define first_gate(p) says_shrunk(p)
#endif
/* With the lock comes the first step of settle: shed: the gate before the slots; a push makes its slot idle and then looks at the gate. */
#define lock_and_settle(p) mu[p] = true; settles[p] = true; first_gate(p)

#if defined(GATE_LATE)
#define leave_lock(p) between[p] = true
#define second(p) true -> says_shrunk(p)
#elif defined(TWO_SECTIONS)
#define leave_lock(p) says_shrunk(p); if :: between[p] :: else -> mu[p] = false fi
#define second(p) true -> wants[p] = 1    /* WINDOW is 1 */
#elif defined(LOCKS_OTHER)
#define leave_lock(p) says_shrunk(p); if :: poked[1-p] -> between[p] = true :: else -> mu[p] = false fi
#define second(p) !mu[1-p] -> skip
#else
#define leave_lock(p) says_shrunk(p); mu[p] = false
#endif
#define refuses(p) (closed[p] && queued[p] > 0)
#define takes(p)   (settles[p] && idle[p] > 0 && (must_leave(p) || may_leave(p) || queued[p] > 0))
#define works(p)   (mu[p] && !between[p])

/* Whoever has locked pool p: gives back what he brought, settles if something may have become possible, unlocks. */
proctype Locked(byte p) {
end:	do
	:: atomic { works(p) && refuses(p) -> refused[p] = refused[p] + queued[p]; queued[p] = 0 }
	:: atomic { works(p) && !back[p] && takes(p) -> idle[p]--; back[p] = true }        /* step: shed: a compare-and-swap; then it is given back */
	:: atomic { works(p) && back[p] && under_bmu ->                                    /* step: give_back */
	      if
	      :: must_leave(p) || may_leave(p) -> begin_close(p)     /* step: claim: leaves, if still asked to */
	      :: !must_leave(p) && queued[p] > 0 -> back[p] = false; queued[p]--; granted[p]++; lends(p)
	      :: !must_leave(p) && !may_leave(p) && queued[p] == 0 -> back[p] = false; idle[p]++
	      fi; fresh[p] = false }
	:: atomic { works(p) && !refuses(p) && !back[p] && !takes(p) && under_bmu ->
	      if :: settles[p] || asks_anew(p) -> ask(p); settles[p] = false :: else fi;   /* step: settle */
	      leave_lock(p) }
#if defined(GATE_LATE) || defined(TWO_SECTIONS) || defined(LOCKS_OTHER)
	:: atomic { between[p] && second(p) -> between[p] = false; mu[p] = false }
#endif
	od
}

/* ---- the users ---- */

#ifdef BOTH
#define got(p)    if :: p == 0 -> begin[1]++ :: else fi
#define may_push(p) (p == 1 || ended1 > ended0)
#define ends_use(p) if :: p == 0 -> ended0++ :: else -> ended1++ fi
#else
#define got(p)    skip
#define ends_use(p) skip
#ifdef HOG               /* the last one of pool 0 keeps its connection until all others are through */
#define may_push(p) (p == 1 || holding[0] > 1 || quiet(1) && begin[0] + queued[0] + granted[0] == 0)
#else
#define may_push(p) true
#endif
#endif

proctype Users(byte p) {
end:	do
	:: atomic { begin[p] > 0 && !closed[p] && idle[p] > 0 -> begin[p]--; idle[p]--; holding[p]++; got(p); lends(p) }           /* step: pop_fast */
	:: atomic { begin[p] > 0 && !mu[p] ->                               /* nothing was idle when it looked */
	      begin[p]--;
	      if
	      :: closed[p]
	      :: !closed[p] -> queued[p]++; lock_and_settle(p)              /* step: announce, look_again */
	      fi }
	:: atomic { granted[p] > 0 -> granted[p]--; holding[p]++; got(p) }
	:: atomic { refused[p] > 0 -> refused[p]-- }
	:: atomic { queued[p] + granted[p] > 0 && cancels > 0 && !mu[p] ->   /* step: cancelled */
	      cancels--;
	      if
	      :: queued[p] > 0 -> queued[p]--
	      :: granted[p] > 0 -> granted[p]--; back[p] = true             /* step: push_on */
	      fi;
#ifdef NO_SETTLE_ON_CANCEL
	      mu[p] = true
#else
	      lock_and_settle(p)
#endif
	   }
	:: atomic { holding[p] > 0 && may_push(p) && !shrunk[p] && !closed[p] -> holding[p]--; pushing[p]++; ends_use(p) }         /* the gate, first look */
	:: atomic { pushing[p] > 0 -> pushing[p]--; idle[p]++; looking[p]++ }                                                     /* step: push_idle */
	:: atomic { looking[p] > 0 && !(queued[p] > 0 || shrunk[p] || closed[p]) -> looking[p]-- }                                /* step: look_at_gate */
	:: atomic { looking[p] > 0 && (queued[p] > 0 || shrunk[p] || closed[p]) && !mu[p] -> looking[p]--; lock_and_settle(p) }
	:: atomic { holding[p] > 0 && may_push(p) && (shrunk[p] || closed[p]) && !mu[p] -> holding[p]--; mu[p] = true; back[p] = true; ends_use(p) }
	:: atomic { holding[p] > 0 && may_push(p) && breaks > 0 && !mu[p] -> breaks--; holding[p]--; mu[p] = true; back[p] = true; broken[p] = true; ends_use(p) }
	od
}

/* ---- the rest of the world ---- */

inline drop() { out--; held[p]--; changed = true }   /* step: put: a close is over, an open has failed */

#ifdef PAUSE_KEEPS_PERMIT
#define drop_unless_kept(p) hung[p]++
#define drop_if_kept hung[p]--; drop()
#else
#define drop_unless_kept(p) drop()
#define drop_if_kept skip
#endif
#if defined(PUT_TOO_EARLY)
#define left(p) skip
#elif defined(LEAVES_IN_SECRET)
#define left(p) drop()
#else
#define left(p) leaving[p]--; drop()
#endif
#ifdef HUNG_COUNTS_AS_LEAVING
#define no_longer_leaves(p) skip
#else
#define no_longer_leaves(p) leaving[p]--
#endif
#ifdef HUNG_PUTS_PERMIT
#define keeps_permit out--; held[p]--
#else
#define keeps_permit skip
#endif

proctype Calls(byte p) {         /* the pool's own goroutines */
	bool changed;
end:	do
	:: atomic { !mu[p] && under_bmu &&
	      (opening[p] > 0 || closing[p] > 0 || poked[p] && !clears[p] || pausing[p] && quiet(1) || hung[p] > 0 && quiet(0) && quiet(1) || closes[p]) ->
	   if
	   :: opening[p] > 0 -> opening[p]--; back[p] = true; fresh[p] = true                                           /* step: open_done */
	   :: opening[p] > 0 && fails > 0 && p == 0 -> fails--; opening[p]--; pausing[p] = true; drop_unless_kept(p)   /* step: open_failed */
	   :: opening[p] > 0 && hangs > 0 -> hangs--; opening[p]--; hung[p]++; keeps_permit; changed = true/* step: abandoned */
	   :: closing[p] > 0 -> closing[p]--; left(p)                                     /* step: freed */
	   :: closing[p] > 0 && hangs > 0 -> hangs--; closing[p]--; hung[p]++; no_longer_leaves(p); changed = true
	   :: hung[p] > 0 && quiet(0) && quiet(1) -> hung[p]--; drop()                                 /* step: late */
	   :: pausing[p] && quiet(1) -> pausing[p] = false; drop_if_kept                                             /* the next try is due */
#ifdef POKE_CLEARED_LATE
	   :: poked[p] && !clears[p] -> clears[p] = true
#else
	   :: poked[p] -> poked[p] = false                                                             /* step: poke: first this, then settle */
#endif
	   :: closes[p] -> closes[p] = false; closed[p] = true
	   fi;
	   if :: changed -> changed = false; balance() :: else fi;
	   lock_and_settle(p) }
	:: atomic { clears[p] && !mu[p] -> clears[p] = false; poked[p] = false }
	od
}

/* The budget's alarm, when a quantum has passed; and its limit: down, and up again when it is reached. */
proctype Budget() {
end:	do
	:: atomic { under_bmu && (waits_quantum || lowers == 2 || lowers == 1 && out <= limit) ->
	      if
	      :: waits_quantum
#ifdef BUDGET_LOCKS_POOLS
	      :: lowers == 2 -> bmu = true; lowers--; limit = LOW
#else
	      :: lowers == 2 -> lowers--; limit = LOW                 /* step: lower */
#endif
	      :: lowers == 1 && out <= limit -> lowers--; limit = N
	      fi;
	      balance() }
#ifdef BUDGET_LOCKS_POOLS
	:: atomic { bmu && !mu[0] -> mu[0] = true; settles[0] = true; bmu = false }
#endif
	od
}

proctype Limiter(byte p) {       /* Limit of a pool: down to 0, and up again when it is reached */
end:	do
	:: atomic { limits > 0 && !mu[p] && (limits == 2 || taken(p) + hung[p] == 0) ->
	      limits--; lim[p] = (limits == 1 -> 0 : SIZE); lock_and_settle(p) }
	od
}

init {
	atomic {
		idle[0] = WARM; held[0] = WARM; out = WARM; begin[0] = USERS0;
#ifndef BOTH
		begin[1] = USERS1;
#endif
#ifdef CLOSES
		closes[1] = true;
#endif
		run Calls(0); run Calls(1); run Locked(0); run Locked(1); run Users(0); run Users(1);
#if QUANTA > 0 || LOWERS > 0
		run Budget();
#endif
#if LIMITS > 0
		run Limiter(0);
#endif
	}
	/* Who is stuck before this line is an invalid end state. */
	atomic {
		quiet(0) && quiet(1) && lowers + limits == 0 && !closes[1] && !mu[0] && !mu[1] && !poked[0] && !poked[1] && !pausing[0] && !waits_quantum &&
		   opening[0] + opening[1] + closing[0] + closing[1] + hung[0] + hung[1] == 0;
		assert(out == idle[0] + idle[1] && held[0] == idle[0] && held[1] == idle[1]);
		assert(credit[0] + credit[1] + wants[0] + wants[1] + gives[0] + gives[1] == 0);
		assert(out <= limit);
		assert(!closed[1] || held[1] == 0)
	}
}
