/*
 * The wait protocol of the pool, for the model checker spin. README.md says what is covered, ./run checks it all.
 *
 * Read it as the Go code: every `inline` is a function. What makes a model of it is where the steps are cut.
 *   - A step is one statement, or one atomic { } or d_step { }. Other goroutines run between two steps, never inside one.
 *   - `mu` is the pool's lock. What only the lock's owner sees (queue, racer, size) may be grouped with a neighbouring step.
 *   - Words of slots, hints and the gate are read without the lock, so each look at one, and each compare-and-swap, is a step of its
 *     own, under the lock too: between two looks of a settle the slots go on changing.
 * A comment `step: name` marks a step of the protocol; comments in the Go code say `model: name`.
 * `#ifndef NO_...` takes one step out: a mutant. Each must make spin find an error, else the step would not be needed.
 */

#ifndef USERS
#define USERS 3          /* goroutines that pop */
#endif
#ifndef POPS
#define POPS 1           /* how often each does */
#endif
#ifndef SLOTS
#define SLOTS 1
#endif
#ifndef SIZE
#define SIZE SLOTS       /* at the start; each resize changes between 1 and 2 */
#endif
#ifndef FIRST
#define FIRST idle       /* what the slots are at the start: idle or vacant */
#endif
#ifndef CANCELS
#define CANCELS 0        /* this many users, the last ones, may see their ctx end while they wait */
#endif
#ifndef FAILS
#define FAILS 0          /* at most so many opens fail */
#endif
#ifndef WINDOW
#define WINDOW 1         /* at most so many opens at once */
#endif
#ifndef CHECKS
#define CHECKS 0         /* the keeper takes an idle slot away to check it, so often */
#endif
#ifdef SLICE             /* so many visits in one holding of the lock: of slots, and of waiters that are dropped, refused or served */
#define spent (visits >= SLICE)
#define visit visits++
#else
#define spent false
#define visit skip
#endif
#if defined(NO_AGAIN) || !defined(SLICE)
#define go_on skip
#else
#define go_on again = true   /* step: again: something is left over */
#endif
#if defined(PASSES) || defined(TURNS)
#define CHOOSES          /* PASSES=n: waiters may be found to have no time left, at most n at one pick; TURNS: every second pick is for the most urgent one */
#define choosing atomic  /* who has time, and who is the most urgent: any may be */
#else
#define choosing d_step
#endif
#ifdef PASSES
#define waiters (queued + stacked)
#else
#define waiters queued
#endif
#ifdef QUEUEING_FOLLOWS_QUEUE
#define wanted queued
#else
#define wanted waiters
#endif
#ifdef LEASE_WRAPS
#define NUMBER(n) ((n) % 2)   /* a word too narrow for its lease number */
#else
#define NUMBER(n) (n)         /* pops are bounded here, so a byte never wraps */
#endif
#ifdef NO_EXCESS_COUNT
#define room(v) true
#else
#define room(v) (SLOTS - v < size)   /* all that is not vacant counts, what is too many too */
#endif
#ifdef NO_GATE_OPENS
#define open_gate skip
#else
#define open_gate starving = false
#endif
#define NOBODY 255
#define NONE   255

mtype = { vacant, opening, idle, stale, held, watched, revoked, resetting, checking, closing, resting }   /* what a slot is */
mtype = { granted, race, over, failed }                               /* what a waiter's channel brings */

/* A slot's word: its state and its lease number, read and written as one. */
mtype state[SLOTS] = vacant;
byte  number[SLOTS];
bool  hint[SLOTS];       /* false: not idle, as far as anybody knew */
byte  size = SIZE;       /* more than so many are too many: what comes back first closes */

/* The gate, one word: written under the lock, read without. */
bool waiting;            /* somebody is queued */
bool racing;             /* a woken waiter is on its way */
bool starving;           /* the oldest with time has waited too long: newcomers do not overtake */
bool paused, closed;
bool shrunk;             /* too many are open */
bool sweeping;           /* a sweep goes on when the lock is free again: what is idle may be suspected */

#define is_open(i) (state[i] != vacant && state[i] != closing && state[i] != opening)   /* an open counts when it has succeeded */
#if SLOTS > 1
#define too_many (is_open(0) + is_open(1) > size)
#else
#define too_many (is_open(0) > size)
#endif

#ifdef NO_SWEEPING_LOOK
#define pop_may_run  (!starving && !paused && !closed)
#else
#define pop_may_run  (!starving && !paused && !closed && !sweeping)
#endif
#ifdef NO_SWEEPING_LOOK_IN_RACE
#define race_may_run (!paused && !closed)
#else
#define race_may_run (!paused && !closed && !sweeping)
#endif
#ifdef NO_SHRUNK_LOOK
#define push_is_called ((waiting && !racing) || starving || closed)
#else
#define push_is_called ((waiting && !racing) || starving || closed || shrunk)
#endif

/* Under the lock. */
bool mu;
byte queue[USERS], queued;   /* oldest first */
byte racer = NOBODY;         /* stays in the queue; nobody grants to it or sends to it until it is back */
#ifdef PASSES
byte stack[USERS], stacked;  /* those that were met and had no time left: out of the queue for good, newest last */
#endif
#ifdef TURNS
bool urgent;                 /* the next pick is for the most urgent one */
#endif
#ifdef CHOOSES
byte at, met;                /* scratch inside pick */
#endif
#ifdef SLICE
byte visits;                 /* since the lock was taken */
bool again;                  /* the alarm is to settle at once */
#endif
#ifdef SWEEPS
bool swept = true;           /* no sweep is under way */
byte next;                   /* the slot it goes on at */
bool anew;                   /* it is to begin anew when it is over */
#endif

/* A waiter: what it is told, by whom holds the lock; whether that has come through its channel of one, which happens some time after the lock
   is free; the lease that goes with `granted`; whether its ctx has ended. */
mtype token[USERS];
bool  there[USERS];
byte  got_slot[USERS], got_number[USERS];
bool  ended[USERS];

/* What only the model knows. */
bool lent[SLOTS];        /* somebody holds it */
bool aborted[SLOTS];     /* its connection was revoked: not to be lent again */
byte finished;           /* users that are through */
byte fails, operators, checks = CHECKS;
#ifdef KEEPS
bool forgotten[SLOTS];   /* the holder is gone: its handle is unreachable */
#endif
#ifdef SWEEPS
byte sweeps;             /* have begun, and the call that began them is over */
byte due[SLOTS];         /* idle when that sweep began, and neither stale nor lent since; 0: not */
#endif
#ifdef CHOOSES
byte overtaken = NOBODY, times;   /* the oldest in the queue, and how many grants to later ones it has seen */
#endif
#ifdef LATE_KEEPS_GRANT
bool late[USERS];        /* it was passed over */
#endif
#ifdef RIVAL
bool copied; byte copy_slot, copy_number, ends;
#define GOROUTINES (USERS + 1)
#else
#define GOROUTINES USERS
#endif
hidden byte j, m, h, o, v;   /* scratch inside single steps */

/* ---- pieces of one step ---- */

#define is_lease(s, n, st) (state[s] == st && number[s] == NUMBER(n))
#define lock   atomic { !mu -> mu = true }

#if defined(HINTS) && defined(SWEEPS)
byte clearing;                   /* searches that have cleared a hint and not looked again: a sweep must not believe it */
bool before[SLOTS];              /* the hints at the sweep's first look */
bool hinted[SLOTS];              /* since it became idle; else its push is not over yet: the connection is in use still, and proves itself */
#ifdef SWEEP_BELIEVES_HINTS
#define counts(n) skip
#else
#define counts(n) clearing = clearing + n
#endif
#define unhint(s) counts(1); hint[s] = false
#define and_looked ; counts(-1)
#define unproved(s)  hinted[s] = false
#define proved(s)    hinted[s] = true
#define is_proved(s) hinted[s]
#else
#define unhint(s) hint[s] = false
#define and_looked
#define unproved(s)  skip
#define proved(s)    skip
#define is_proved(s) true
#endif

inline lend(s) { assert(!lent[s]); assert(!aborted[s]); lent[s] = true; state[s] = held; number[s] = NUMBER(number[s] + 1) }
inline unlend(s, to) { assert(lent[s]); lent[s] = false; unproved(s); state[s] = to }

inline enqueue(w) { queue[queued] = w; queued++ }

inline close_up(y) {     /* the queue, over place y */
	do :: y + 1 < queued -> queue[y] = queue[y+1]; y++ :: else -> break od;
	queued--; queue[queued] = 0
}

#ifdef PASSES
inline close_stack(y) {
	do :: y + 1 < stacked -> stack[y] = stack[y+1]; y++ :: else -> break od;
	stacked--; stack[stacked] = 0
}

inline unlink_if_queued(w) { /* from the queue, or from the stack */
	j = 0;
	do :: j < queued && queue[j] != w -> j++ :: else -> break od;
	if
	:: j < queued -> close_up(j)
	:: else ->
	   j = 0;
	   do :: j < stacked && stack[j] != w -> j++ :: else -> break od;
#ifdef STAYS_ON_STACK
	   skip
#else
	   if :: j < stacked -> close_stack(j) :: else fi
#endif
	fi
}

inline unlink(w) {
	h = waiters; unlink_if_queued(w);
	assert(waiters < h)
}
#else
inline unlink(w) {
	j = 0;
	do :: queue[j] != w -> j++ :: else -> break od;
	assert(j < queued);
	close_up(j)
}
#endif

#ifndef SLICE
#ifndef PASSES
#define unlink_if_queued(w) unlink(w)
#endif

inline oldest(w) {       /* the oldest that can be served: not the racer, ctx not ended */
	w = NOBODY; j = 0;
	do
	:: j < queued && w == NOBODY -> if :: queue[j] != racer && !ended[queue[j]] -> w = queue[j] :: else fi; j++
	:: else -> break
	od
}
#else
#ifndef PASSES
inline unlink_if_queued(w) {
	j = 0;
	do :: j < queued && queue[j] != w -> j++ :: else -> break od;
	if :: j < queued -> close_up(j) :: else fi
}
#endif

inline oldest(w) {       /* the same, within a slice: those whose ctx has ended are dropped, each once; after that nobody looks at it */
	w = NOBODY; j = 0;
	do
	:: j < queued && w == NOBODY ->
	   if
	   :: queue[j] == racer -> j++
	   :: queue[j] != racer && ended[queue[j]] && !spent -> visit; m = j; close_up(m)
	   :: else -> w = queue[j]
	   fi
	:: else -> break
	od
}
#endif

inline send(w, what) { assert(token[w] == 0); token[w] = what }

#ifdef CHOOSES
#define asleep(w) (w != racer)
#ifdef SLICE
#define lapsed(w) (ended[w] && !spent)   /* once the visits are spent nobody looks */
#else
#define lapsed(w) ended[w]
#endif
#define to_meet(w) (asleep(w) && !lapsed(w))

#ifdef PASSES
#define may_pass_over (met < PASSES && !spent)
inline pass_over(y) {            /* step: pass_over: it has no time left: from the queue to the stack, for good */
	d_step {
		visit; met++;
#ifdef LATE_KEEPS_GRANT
		late[queue[y]] = true;
#endif
		if :: overtaken == queue[y] -> overtaken = NOBODY; times = 0 :: else fi;
		stack[stacked] = queue[y]; stacked++; m = y; close_up(m);
#ifdef PASS_OVER_OPENS_GATE
		if :: queued == 0 -> waiting = false :: else fi      /* for a moment: unlock sets it again */
#endif
	}
}

inline top(w) {
	d_step {
		j = stacked;
#ifdef TOP_IS_RACER
		do :: j > 0 && w == NOBODY -> j--; if :: !lapsed(stack[j]) -> w = stack[j] :: else fi :: else -> break od
#else
		do :: j > 0 && w == NOBODY -> j--; if :: asleep(stack[j]) && !lapsed(stack[j]) -> w = stack[j] :: else fi :: else -> break od
#endif
	}
}

inline newest(w) {               /* so many were passed over that the search ends here, with time or not */
	d_step {
		j = queued;
		do :: j > 0 && w == NOBODY -> j--; if :: asleep(queue[j]) && !lapsed(queue[j]) -> w = queue[j] :: else fi :: else -> break od
	}
}
#endif

inline pick(w) {                 /* step: pick: who is to get it? */
	w = NOBODY;
#ifdef TURNS
	if
	:: urgent ->                                             /* step: pick_urgent: who has the earliest deadline? Any may; those met before have no time */
	   do
	   :: at < queued && w == NOBODY && to_meet(queue[at]) ->
	      if
	      :: w = queue[at]
	      :: at++
#ifdef PASSES
	      :: may_pass_over -> pass_over(at)
#endif
	      fi
	   :: at < queued && w == NOBODY && !to_meet(queue[at]) -> at++
	   :: else -> break
	   od; at = 0;
#ifdef PASSES
	   if :: w == NOBODY && met < PASSES -> top(w) :: true fi      /* step: probe: nobody urgent has time; now and then */
#endif
	:: !urgent
	fi;
#ifdef VAIN_PICKS_COUNT
	urgent = !urgent;
#endif
#endif
	do
#ifdef PASS_OVER_RACER
	:: at < queued && w == NOBODY && !asleep(queue[at]) && may_pass_over -> pass_over(at)
#endif
	:: at < queued && w == NOBODY && to_meet(queue[at]) ->
	   if
#ifdef PASSES
	   :: met < PASSES -> w = queue[at]
	   :: may_pass_over -> pass_over(at)
	   :: met >= PASSES -> newest(w); at = queued
#else
	   :: w = queue[at]
#endif
	   fi
	:: at < queued && w == NOBODY && !to_meet(queue[at]) -> at++
	:: else -> break
	od; at = 0;
#if defined(PASSES) && !defined(NO_TOP_OF_STACK)
	if :: w == NOBODY -> top(w) :: else fi;                    /* step: top_of_stack: nobody with time wants it */
#endif
	met = 0
}

#ifdef TURNS
#define next_turn urgent = !urgent
#else
#define next_turn skip
#endif
#ifdef VAIN_PICKS_COUNT
#define takes_turn skip
#else
#define takes_turn next_turn     /* only who is served or woken uses up a turn */
#endif

#ifdef PASSES
#define MOST (1 + (PASSES < USERS))   /* one for one, and the newest that a pick of so many serves */
#else
#define MOST 1
#endif
inline overtakes(w) {            /* w is granted: is somebody older with time overtaken, and how often? */
	j = 0;
	do :: j < queued && queue[j] != w && !(asleep(queue[j]) && !ended[queue[j]]) -> j++ :: else -> break od;
	if
	:: j < queued && queue[j] != w ->
	   if :: overtaken != queue[j] -> overtaken = queue[j]; times = 0 :: else fi;
	   times++; assert(times <= MOST)
	:: else
	fi
}

#define forget(w) if :: overtaken == w -> overtaken = NOBODY; times = 0 :: else fi
#else
#define pick(w)      oldest(w)
#define overtakes(w) skip
#define takes_turn   skip
#define forget(w)    skip
#endif

inline grant(w, s) { overtakes(w); takes_turn; forget(w); unlink(w); got_slot[w] = s; got_number[w] = number[s]; send(w, granted) }

#ifdef TELL_RACER
#define spared(w) false
#else
#define spared(w) (w == racer)
#endif
inline fail_all(why) {   /* all but the racer, who comes back by itself and looks */
	m = 0;
	do
	:: m < queued && !spared(queue[m]) && !spent -> visit; send(queue[m], why); unlink(queue[m])
	:: m < queued && !spared(queue[m]) && spent -> go_on; break
	:: m < queued && spared(queue[m]) -> m++
	:: m >= queued -> break
	od
#if defined(PASSES) && !defined(REFUSES_QUEUE_ONLY)
	; m = 0;
	do
	:: m < stacked && !spared(stack[m]) && !spent -> visit; send(stack[m], why); unlink(stack[m])
	:: m < stacked && !spared(stack[m]) && spent -> go_on; break
	:: m < stacked && spared(stack[m]) -> m++
	:: m >= stacked -> break
	od
#endif
}

inline count(c, a, b) {  /* slots in state a or b */
	c = 0; j = 0;
	do :: j < SLOTS -> if :: state[j] == a || state[j] == b -> c++ :: else fi; j++ :: else -> break od
}

/* ---- looking at slots, without or with the lock ---- */

inline swap_or_next(i, k, x) {   /* compare-and-swap idle|k -> held|k+1 */
	if
	:: d_step { state[i] == idle && number[i] == k -> lend(i); x = i; i = 0; k = 0 }; break
	:: d_step { !(state[i] == idle && number[i] == k) -> i++; k = 0 }
	fi
}

inline take_idle(x) {            /* x: the slot that is ours now, or NONE. i, k: the caller's */
	x = NONE; i = 0;
	do
#ifndef HINTS
	:: d_step { i < SLOTS && state[i] != idle -> i++ }
	:: d_step { i < SLOTS && state[i] == idle -> k = number[i] }; swap_or_next(i, k, x)
#else
	:: d_step { i < SLOTS && !hint[i] -> i++ }
	:: atomic { i < SLOTS && hint[i] -> skip };
	   if
	   :: d_step { state[i] == idle -> k = number[i] }; swap_or_next(i, k, x)
	   :: atomic { state[i] != idle -> skip };
	      unhint(i);                                         /* step: hint_clear */
	      if                                                 /* step: hint_look_again */
#ifndef NO_HINT_LOOK_AGAIN
	      :: d_step { state[i] == idle -> k = number[i] }; hint[i] = true and_looked; swap_or_next(i, k, x)
	      :: atomic { state[i] != idle -> i++ and_looked }
#else
	      :: i++ and_looked
#endif
	      fi
	   fi
#endif
	:: d_step { i == SLOTS -> i = 0 }; break
	od
}

inline hint_of(s) {              /* step: hint_set: after the slot became idle, before the look at the gate */
#ifdef HINTS
	if
	:: atomic { !hint[s] -> skip }; d_step { hint[s] = true; proved(s) }
	:: d_step { hint[s] -> proved(s) }
	fi
#else
	skip
#endif
}

#if defined(SLICE) || defined(SWEEPS)
/* idle_from in the code, with the compare-and-swap that follows: the first idle slot from i on becomes `to`. i is SLOTS afterwards if there is
   none, or if this holding of the lock has had its visits. */
#define becomes(to) if :: to == held -> lend(i) :: to != held -> state[i] = to fi
inline take_from(i, to) {
	do
#ifndef HINTS
	:: d_step { i < SLOTS && state[i] != idle -> i++ }
	:: d_step { i < SLOTS && state[i] == idle && spent -> i = SLOTS }; break
#ifdef TAKES_OUT_ANY
	:: atomic { to == closing && i < SLOTS && state[i] == idle && !spent -> visit }; state[i] = to; break
	:: d_step { to != closing && i < SLOTS && state[i] == idle && !spent -> visit; becomes(to) }; break
#else
	:: d_step { i < SLOTS && state[i] == idle && !spent -> visit; becomes(to) }; break
#endif
#else
	:: d_step { i < SLOTS && !hint[i] -> i++ }
	:: d_step { i < SLOTS && hint[i] && spent -> i = SLOTS }; break
	:: d_step { i < SLOTS && hint[i] && !spent -> visit };
	   if
	   :: d_step { state[i] == idle -> becomes(to) }; break
	   :: atomic { state[i] != idle -> skip };
	      unhint(i);                                         /* step: hint_clear */
	      if                                                 /* step: hint_look_again */
	      :: atomic { state[i] == idle -> skip }; hint[i] = true and_looked
	      :: atomic { state[i] != idle -> i++ and_looked }
	      fi
	   fi
#endif
	:: atomic { i == SLOTS -> break }
	od
}

inline close_idle(which) {       /* step: shed: unused slots begin to close, while so */
	do
	:: d_step { which && !spent -> i = 0 };
	   take_from(i, closing);
	   if
	   :: d_step { i < SLOTS -> i = 0 }
	   :: d_step { i == SLOTS ->
	        j = 0; do :: j < SLOTS && state[j] != stale -> j++ :: else -> break od;
	        if :: j < SLOTS && which -> visit; state[j] = closing; i = 0 :: else fi };
	      if
	      :: atomic { i == SLOTS -> i = 0; if :: which && spent -> go_on :: else fi; break }
	      :: atomic { i == 0 -> skip }
	      fi
	   fi
	:: atomic { which && spent -> go_on; break }
	:: atomic { !(which) -> break }
	od
}
#else
#define unused(i) (state[i] == idle || state[i] == resting)
inline close_idle(which) {       /* step: shed: idle slots begin to close, while so */
	i = 0;
	do
	:: d_step { i < SLOTS && unused(i) && which -> state[i] = closing; i++ }
	:: d_step { i < SLOTS && !(unused(i) && which) -> i++ }
	:: d_step { i == SLOTS -> i = 0 }; break
	od
}
#endif

#ifdef SWEEPS
#if defined(HINTS)
#ifdef SWEEP_LOOKS_ONCE
#define was_hinted(s) false
#else
#define was_hinted(s) before[s]
#endif
/* mayBeIdle in the code, and the look at that slot. While a search has cleared a hint and not looked again, all slots may be idle. */
inline sweep_look() {
	if
	:: i == SLOTS -> visit
	:: d_step { i < SLOTS -> j = 0; do :: j < SLOTS -> before[j] = hint[j]; j++ :: else -> break od };
	   if
	   :: clearing != 0 -> skip
	   :: d_step { clearing == 0 -> skip };
	      d_step { do :: i < SLOTS && !hint[i] && !was_hinted(i) -> i++ :: else -> break od }
	   fi;
	   d_step { j = 0; do :: j < SLOTS -> before[j] = false; j++ :: else -> break od; visit };
	   if
	   :: i == SLOTS -> skip
	   :: d_step { i < SLOTS && state[i] == idle -> state[i] = stale; due[i] = 0 }
	   :: atomic { i < SLOTS && state[i] != idle -> skip }; unhint(i);
	      if
	      :: atomic { state[i] == idle -> skip }; hint[i] = true and_looked   /* it was in use when the sweep looked */
	      :: atomic { state[i] != idle -> skip and_looked }
	      fi
	   fi
	fi
}
#define unfinished false
#define swept_one  skip
#else
#define sweep_look() take_from(i, stale)
#define unfinished spent         /* not all was looked at */
#define swept_one  due[i] = 0
#endif
inline sweep_on() {              /* step: sweep: idle slots become stale, as many as this holding of the lock may visit */
	do
	:: atomic { swept -> sweeping = false; break }
	:: atomic { !swept && spent -> sweeping = true; go_on; break }
	:: d_step { !swept && !spent -> i = next };
	   sweep_look();
	   atomic {
		if
		:: i < SLOTS -> swept_one; next = i + 1
		:: i == SLOTS && unfinished
		:: i == SLOTS && !unfinished && anew -> anew = false; next = 0
		:: i == SLOTS && !unfinished && !anew -> swept = true; next = 0; j = 0;
		   do :: j < SLOTS -> assert(!(due[j] != 0 && state[j] == idle)); j++ :: else -> break od
		fi; i = 0
	   }
	od
}
#define pop_looks          d_step { pop_may_run -> seen = sweeps }
#define race_looks         d_step { race_may_run -> seen = sweeps }
#define took(s, n)         d_step { n = number[s]; assert(due[s] == 0 || seen < due[s]); due[s] = 0; seen = 0 }   /* unchecked: if it looked before that sweep */
#define hands_out(s)       assert(due[s] == 0)
#else
#define pop_looks          pop_may_run
#define race_looks         race_may_run
#define took(s, n)         n = number[s]
#define hands_out(s)       skip
#endif

/* ---- under the lock ---- */

#ifdef PROVIDES_FOR_QUEUE
#define hopers queued
#else
#define hopers waiters
#endif
#ifdef AGAIN_FOR_QUEUE
#define leftovers queued
#else
#define leftovers waiters
#endif
inline provide() {               /* checks and opens, for waiters beyond what is about to come, within window and size */
	d_step {
#ifdef SWEEPS
		count(h, checking, checking); j = 0;             /* step: start_checks: of stale slots, one for each waiter */
		do
		:: j < SLOTS && hopers > h && !spent -> if :: state[j] == stale -> visit; state[j] = checking; h++ :: else fi; j++
		:: else -> break
		od;
		count(m, opening, resetting); h = h + m;
#else
		count(h, opening, resetting);
#endif
		count(o, opening, opening); count(v, vacant, vacant); j = 0;
		do
		:: j < SLOTS && hopers > h && o < WINDOW && room(v) && !sweeping ->   /* after a sweep there may be some that need only a check */
		   if
		   :: state[j] == vacant && !spent -> visit; state[j] = opening; h++; o++; v--; assert(SLOTS - v <= size)
		   :: state[j] == vacant && spent -> go_on
		   :: else
		   fi; j++
		:: else -> break
		od;
		if :: spent && leftovers > 0 -> go_on :: else fi
	}
}

#ifdef SLICE
inline take_idle_within(x) {     /* take_idle, within a slice */
	i = 0; take_from(i, held);
	atomic { if :: i < SLOTS -> x = i :: i == SLOTS -> x = NONE fi; i = 0 }
}
#else
#define take_idle_within(x) take_idle(x)
#endif

#ifdef RESTS
inline take_rested(x) {          /* step: take_rested: under the lock; the slot that is ours now, or NONE */
	d_step {
		j = 0;
		do
		:: j < SLOTS && x == NONE -> if :: state[j] == resting -> lend(j); x = j :: else fi; j++
		:: else -> break
		od
	}
}
#else
#define take_rested(x) skip
#endif
#ifdef NO_TAKE_RESTED
#define settle_rested(x) skip
#else
#define settle_rested(x) take_rested(x)
#endif

inline settle() {                /* step: settle: hand out what there is. w, x: the caller's */
	if
	:: closed -> d_step { fail_all(over) }; close_idle(true)
	:: !closed && paused -> close_idle(too_many)
#ifdef SWEEPS
	   ; sweep_on()
#endif
	:: !closed && !paused ->
	   if :: size < SLOTS -> close_idle(too_many) :: size == SLOTS fi;
#ifdef SWEEPING_ENDS_EARLY
	   sweeping = false;                                     /* and again true if the sweep is not over */
#endif
#ifdef SWEEPS
	   sweep_on();
#endif
	   do                                                    /* idle slots are the racer's while there is one */
#if defined(CHOOSES) && !defined(VAIN_PICKS_COUNT)
	   :: atomic { racer == NOBODY && !sweeping && waiters > 0 -> skip };
	      take_idle_within(x); settle_rested(x);             /* first this: a pick takes a turn and passes over, so it must not be in vain */
	      if
	      :: x == NONE -> break
	      :: x != NONE ->
	         choosing {
			pick(w);
			if
			:: w != NOBODY -> hands_out(x); grant(w, x); w = 0; x = 0
			:: w == NOBODY -> unlend(x, idle)                /* the ctx of each has ended */
			fi
		 };
	         if :: w == NOBODY -> hint_of(x); break :: w != NOBODY fi
	      fi
	   :: racer != NOBODY || sweeping || waiters == 0 -> break
#else
	   :: choosing { racer == NOBODY && !sweeping -> pick(w) };
	      if
	      :: w == NOBODY -> break
	      :: w != NOBODY -> take_idle_within(x); settle_rested(x);
	         if
	         :: x == NONE -> w = 0; break
	         :: x != NONE -> d_step { hands_out(x); grant(w, x); w = 0; x = 0 }
	         fi
	      fi
	   :: racer != NOBODY || sweeping -> break
#endif
	   od;
#ifdef SLICE
	   atomic { provide(); if :: spent && queued > 0 -> starving = true :: true fi }    /* no newcomer comes between two slices */
#else
	   provide()
#endif
	fi;
	w = 0; x = 0
}

inline unlock() {                /* the gate says what is true now, then the lock is free */
	atomic {
		if :: queued > 0 -> starving = false :: true fi;   /* the head is young again, or not */
		d_step {
			waiting = wanted > 0; racing = racer != NOBODY;
#ifdef STARVING_FOLLOWS_STACK
			if :: waiters == 0 -> open_gate :: else fi;
#else
			if :: queued == 0 -> open_gate :: else fi;
#endif
#ifdef PASSES
			assert(!starving || queued > 0);                 /* beside those that were passed over, newcomers may take what is idle */
#endif
			shrunk = too_many;
#ifdef SLICE
			visits = 0;
#endif
			mu = false
		}
	}
}

#ifdef STARVING_FOLLOWS_STACK
#define may_starve (waiters > 0)
#else
#define may_starve (queued > 0)
#endif
inline wait_too_long() {         /* the oldest has waited a millisecond, or not */
	atomic { if :: may_starve -> starving = true :: true fi }
}

inline wake_racer() {            /* step: wake_racer: the oldest is sent to race for what is idle */
	choosing {
#ifdef NO_TOP_FOR_RACE
		if :: queued > 0 -> pick(w) :: queued == 0 -> w = NOBODY fi;
#else
		pick(w);
#endif
		if :: w != NOBODY -> takes_turn; forget(w); racer = w; racing = true; send(w, race) :: else fi; w = 0
	}
}

inline give_back(s) {            /* step: give_back: a slot that the pool alone owns */
	choosing {
		pick(w);
		if
		:: closed || too_many -> state[s] = closing; w = 0
#ifndef NO_GIVE_BACK
		:: !(closed || too_many) && !paused && w != NOBODY -> lend(s); grant(w, s); w = 0
#endif
		:: else -> unproved(s); state[s] = idle; w = 1
		fi
	};
	if :: w == 1 -> w = 0; hint_of(s) :: w == 0 fi
}

/* ---- what a user does ---- */

inline push(s, n, ok) {
	ok = true; in = false;
	if
	:: !starving && !shrunk && !sweeping ->                  /* the gate, first look */
	   if
	   :: d_step { is_lease(s, n, held) -> unlend(s, idle) };      /* step: push_idle */
#ifndef HINT_AFTER_GATE
	      hint_of(s);
#endif
#ifndef NO_GATE_LOOK
	      if                                                 /* step: look_at_gate */
	      :: push_is_called -> lock; in = true
	      :: !push_is_called -> skip
	      fi
#endif
#ifdef HINT_AFTER_GATE
	      ; hint_of(s)
#endif
	   :: atomic { !is_lease(s, n, held) -> ok = false; }; lock; in = true
	   fi
	:: starving || shrunk || sweeping -> atomic { lock; choosing { in = true; pick(w) } };   /* step: hand_on: held to held, never idle in between */
	   if
	   :: d_step { w != NOBODY && !paused && !closed && !too_many && is_lease(s, n, held) -> unlend(s, idle); lend(s); grant(w, s); w = 0 };
	      unlock(); in = false
	   :: d_step { (closed || too_many) && is_lease(s, n, held) -> unlend(s, closing) }
	   :: d_step { !(w != NOBODY && !paused) && !(closed || too_many) && is_lease(s, n, held) -> unlend(s, idle) }; hint_of(s)
	   :: d_step { !is_lease(s, n, held) -> ok = false }
	   fi; w = 0
	fi;
	if
	:: in && !ok ->
	   if
	   :: d_step { is_lease(s, n, watched) -> ok = true; unlend(s, resetting) }; give_back(s); settle()
	   :: d_step { is_lease(s, n, revoked) -> ok = true; unlend(s, closing) }    /* ErrRevoked */
	   :: !is_lease(s, n, watched) && !is_lease(s, n, revoked) -> skip       /* ErrNotHeld */
	   fi; unlock()
	:: in && ok -> wait_too_long();
	   if
	   :: closed || shrunk || starving || sweeping -> settle()
	   :: !(closed || shrunk || starving || sweeping) -> if :: racer == NOBODY && !paused -> wake_racer() :: else fi
	   fi; unlock()
	:: !in -> skip
	fi; in = false
}

inline destroy(s, n, ok) {       /* detach is the same, with nothing to close */
	ok = true;
	if
	:: d_step { is_lease(s, n, held) -> unlend(s, closing) }
	:: atomic { !is_lease(s, n, held) -> skip }; lock;
	   if
	   :: d_step { is_lease(s, n, watched) || is_lease(s, n, revoked) -> unlend(s, closing) }
	   :: d_step { !is_lease(s, n, watched) && !is_lease(s, n, revoked) -> ok = false }
	   fi; unlock()
	fi
}

#define me (_pid - 1)            /* init is process 0 */
#define came(what) (there[me] && token[me] == what)
#define may_cancel (me >= USERS - CANCELS)

#ifdef PASSES_ON_TO_QUEUE
#define followers queued
#else
#define followers waiters
#endif
inline pass_on() {               /* step: pass_on: the next one, if there is something idle */
	i = 0;
	do
	:: i < SLOTS && followers > 0 && state[i] != idle -> i++
	:: i < SLOTS && followers > 0 && state[i] == idle ->
	   i = 0;
	   if
	   :: starving || closed || shrunk || sweeping -> settle()
	   :: !(starving || closed || shrunk || sweeping) -> if :: !paused -> wake_racer() :: paused fi
	   fi; break
#if (defined(SWEEPS) || defined(RESTS)) && !defined(NO_SETTLE_IN_PASS_ON)
	:: i == SLOTS && followers > 0 -> i = 0; settle(); break /* what was idle is stale, or rests: check it, take it */
	:: followers == 0 -> i = 0; break
#else
	:: i == SLOTS || followers == 0 -> i = 0; break
#endif
	od
}

inline cancel(s, n) {            /* step: cancelled: the ctx ended first; a token may have come all the same */
	atomic { lock; w = token[me] };
	if
#ifdef LATE_KEEPS_GRANT
	:: w == granted && late[me] -> w = 0
	:: w == granted && !late[me] -> w = 0;
#else
	:: w == granted -> w = 0;
#endif
#ifndef NO_PUSH_ON
	   s = got_slot[me];                                     /* step: push_on */
	   if
#ifndef NO_REVOKED_LOOK
	   :: d_step { state[s] == revoked -> unlend(s, closing) }
	   :: d_step { state[s] != revoked -> unlend(s, resetting) }; give_back(s)
#else
	   :: unlend(s, resetting); give_back(s)
#endif
	   fi;
	   settle(); s = NONE
#endif
	:: w == over || w == failed -> w = 0                     /* unlinked already */
	:: w != granted && w != over && w != failed -> w = 0;
	   if
	   :: racer == me ->
	      d_step { forget(me); unlink(me); racer = NOBODY; racing = false; if :: wanted == 0 -> waiting = false :: else fi; if :: queued == 0 -> open_gate :: else fi };
#ifndef NO_WAKE_PASS
	      settle()                                           /* step: pass_wake */
#endif
	   :: racer != me ->
	      d_step { forget(me); unlink_if_queued(me); if :: wanted == 0 -> waiting = false :: else fi; if :: queued == 0 -> open_gate :: else fi };
#ifndef NO_SETTLE_ON_CANCEL
	      settle()
#endif
	   fi
	fi;
	unlock();
#ifndef NO_TAKE_OWED
	if                                                       /* step: take_owed: or it would meet the next pop */
	:: token[me] != 0 -> d_step { there[me] -> there[me] = false; token[me] = 0; got_slot[me] = 0; got_number[me] = 0 }
	:: token[me] == 0 -> skip
	fi
#endif
}

/* One pop, from the fast path to the lease (s, n); s == NONE: an error. */
inline pop(s, n) {
	s = NONE;
	if                                                       /* step: pop_fast */
	:: pop_looks -> take_idle(s)
	:: !pop_may_run -> skip
	fi;
#ifdef RESTS
	if
	:: s == NONE && pop_may_run -> lock; if :: pop_may_run -> take_rested(s) :: !pop_may_run -> skip fi; unlock()
	:: s != NONE || !pop_may_run -> skip
	fi;
#endif
	if
	:: s != NONE -> took(s, n)
	:: s == NONE ->
	   atomic { lock; if :: closed -> mu = false; goto leave :: else -> enqueue(me); waiting = true fi };   /* step: announce */
#ifndef NO_LOOK_AGAIN
	   if                                                    /* step: look_again: whoever sets WAITING must; for later ones it has been set since */
	   :: waiters == 1 -> settle()
#ifdef SLICE
	   :: d_step { waiters > 1 -> oldest(w); w = 0 }; if :: !paused -> provide() :: paused -> skip fi
#else
	   :: waiters > 1 -> if :: !paused -> provide() :: paused -> skip fi
#endif
	   fi;
#endif
	   unlock();
park:                                                        /* step: park */
	   if
	   :: d_step { came(granted) -> s = got_slot[me]; n = got_number[me]; there[me] = false; token[me] = 0; got_slot[me] = 0; got_number[me] = 0 }
	   :: d_step { came(over) || came(failed) -> there[me] = false; token[me] = 0 }
	   :: may_cancel && !ended[me] -> ended[me] = true; goto park
	   :: ended[me] -> cancel(s, n)
	   :: d_step { came(race) -> there[me] = false; token[me] = 0 };
	      if
	      :: race_looks -> take_idle(s)    /* one poll; starving does not forbid it */
	      :: !race_may_run -> skip
	      fi;
	      if
	      :: s != NONE ->                                    /* step: race_won */
	         atomic { lock; d_step { forget(me); unlink(me); racer = NOBODY; racing = false } };
	         took(s, n);
#ifndef NO_PASS_ON
	         pass_on();
#endif
	         unlock()
	      :: s == NONE ->                                    /* step: race_lost */
	         atomic { lock; racer = NOBODY; racing = false; if :: may_starve -> starving = true :: true fi };
#ifndef NO_SETTLE_ON_RACE_LOST
	         settle();
#endif
	         unlock(); goto park
	      fi
	   fi
	fi;
leave:
#ifdef LATE_KEEPS_GRANT
	late[me] = false;
#endif
	ended[me] = false
}

inline use(s, n) {
#ifdef RIVAL
	if :: me == 0 && !copied -> d_step { copied = true; copy_slot = s; copy_number = n } :: else fi;
#endif
#ifdef HOG
	if :: me == 0 -> finished == USERS - 1 :: else fi;       /* keeps it until all others were served without it */
#endif
	if
	:: true ->
#ifdef TWICE
	   do
	   :: pushes < 2 -> push(s, n, ok); assert(ok == (pushes == 0)); pushes++    /* the second is refused, at any time */
	   :: pushes == 2 -> break
	   od
#else
	   push(s, n, ok)
#endif
#ifdef DESTROYS
	:: destroy(s, n, ok)
#endif
#ifdef RESETS
	:: d_step { is_lease(s, n, held) -> unlend(s, resetting); ok = true }   /* a push with a Reset */
	:: d_step { is_lease(s, n, revoked) -> unlend(s, closing); ok = true }
#endif
#if defined(KEEPS) && !defined(RIVAL)
	:: d_step { forgotten[s] = true; ok = true }            /* no Push: its handle becomes unreachable */
#endif
	fi;
#ifdef RIVAL
	if :: me == 0 -> if :: ok -> ends++ :: else fi :: else -> assert(ok) fi
#elif !defined(TWICE)
	assert(ok)
#endif
}

proctype User() {
	byte i, k, w, x, s, n, pops, pushes;
#ifdef SWEEPS
	byte seen;
#endif
	bool in, ok;
	do
	:: pops < POPS -> pops++;
	   pop(s, n);
	   if
	   :: s == NONE -> skip
	   :: s != NONE -> use(s, n)
	   fi;
	   atomic { s = 0; n = 0; ok = false; pushes = 0 }
	:: pops == POPS -> break
	od;
	finished++
}

/* What tellers do after unlock: it takes as long as it likes, but it comes. */
proctype Post() {
end:	do
	:: d_step { !there[0] && token[0] != 0 -> there[0] = true }
#if USERS > 1
	:: d_step { !there[1] && token[1] != 0 -> there[1] = true }
#endif
#if USERS > 2
	:: d_step { !there[2] && token[2] != 0 -> there[2] = true }
#endif
#if USERS > 3
	:: d_step { !there[3] && token[3] != 0 -> there[3] = true }
#endif
	od
}

#ifdef SLICE
inline call_ended() { if :: closed -> skip :: !closed -> settle() fi }   /* closed: nothing to hand out, and the rest is the alarm's */
#else
#define call_ended() settle()    /* closed: finds nothing */
#endif

/* The pool's goroutines for one slot: open, reset, close, each as slow as it likes. Broken and Check are like Reset here. */
proctype Slot(byte t) {
	byte i, k, w, x;
end:	do
	:: atomic { state[t] == opening && !mu -> mu = true };
	   if
	   :: state[t] = resetting; give_back(t);                                      /* step: open_done */
#ifndef NO_SETTLE_ON_OPEN_DONE
	      call_ended()
#endif
	   :: d_step { fails < FAILS -> fails++; state[t] = vacant };    /* step: open_failed */
#ifndef NO_SETTLE_ON_OPEN_FAILED
	      d_step { count(v, vacant, closing); if :: v == SLOTS -> fail_all(failed) :: else fi };   /* no other hope */
	      call_ended()
#endif
	   fi; unlock()
	:: atomic { (state[t] == resetting || state[t] == checking) && !mu -> mu = true };
	   give_back(t);
#ifndef NO_SETTLE_ON_RESET_DONE
	   call_ended();
#endif
	   unlock()
	:: atomic { state[t] == closing && !mu -> mu = true; state[t] = vacant; aborted[t] = false };   /* step: freed */
#ifndef NO_SETTLE_ON_FREED
	   call_ended();
#endif
	   unlock()
	od
}

#ifdef PAUSES
proctype Pauser() {
	byte i, k, w, x;
	atomic { lock; paused = true }; unlock();                /* step: pause */
	atomic { lock; paused = false };                         /* step: resume */
#ifndef NO_SETTLE_ON_RESUME
	settle();
#endif
	unlock(); operators--
}
#endif

#ifdef RESIZES
proctype Resizer() {
	byte i, k, w, x, r;
	do
	:: r < RESIZES -> r++;
	   atomic { lock; size = 3 - size; shrunk = too_many };          /* step: resize */
#ifndef NO_SETTLE_ON_RESIZE
	   settle();
#endif
	   unlock()
	:: r == RESIZES -> break
	od;
	operators--
}
#endif

#ifdef REVOKES
proctype Revoker() {
	byte i, r;
	do
	:: r < REVOKES -> r++;
	   lock;
	   do                                                    /* step: revoke */
	   :: d_step { i < SLOTS && (state[i] == held || state[i] == watched) -> state[i] = revoked; aborted[i] = true; i++ }
	   :: d_step { i < SLOTS && state[i] != held && state[i] != watched -> i++ }
	   :: d_step { i == SLOTS -> i = 0 }; break
	   od;
	   unlock()
	:: r == REVOKES -> break
	od;
	operators--
}
#endif

#ifdef CLOSES
proctype Closer() {
	byte i, k, w, x;
	atomic { lock; closed = true }; settle(); unlock();      /* step: close */
	i = 0;
	do :: i < SLOTS -> state[i] == vacant; i++ :: i == SLOTS -> break od;   /* holders, opens, closes: all over */
	operators--
}
#endif

#ifdef SLICE
/* The alarm goes on with what is left over. */
proctype Alarm() {
	byte i, k, w, x;
end:	do
	:: atomic { again && !mu -> again = false; mu = true };
#ifdef NO_SETTLE_ON_SWEPT
	   if :: !swept -> sweep_on() :: swept -> settle() fi;
#else
	   settle();
#endif
	   unlock()
#ifdef KEEPER_STOPS_ALARM
	:: d_step { again && !mu && queued == 0 -> again = false }
#endif
	od
}
#endif

#ifdef SWEEPS
/* Somebody's connection has broken: what is idle is suspected. That is all it does: nothing settles in this holding of the lock. */
proctype Sweeper() {
	byte i, r;
	do
	:: r < SWEEPS -> r++;
	   atomic { lock; d_step {                               /* step: sweep_begin */
		j = 0; do :: j < SLOTS -> if :: state[j] == idle && is_proved(j) -> due[j] = r :: else fi; j++ :: else -> break od;
#ifdef NO_ANEW
		if :: swept -> swept = false; next = 0 :: else fi
#else
		if :: swept -> swept = false; next = 0 :: else -> anew = true fi
#endif
	   } };
	   sweep_on();
	   sweeps = r;
	   unlock()
	:: r == SWEEPS -> break
	od;
	operators--
}
#endif

#ifdef KEEPS
/* The keeper and the collector, for one slot. */
proctype Keeper(byte t) {
end:	do
	:: atomic { state[t] == held && !mu -> state[t] = watched }                        /* step: watch */
	:: atomic { (state[t] == watched || state[t] == revoked) && forgotten[t] && !mu -> forgotten[t] = false; unlend(t, closing) }   /* step: lost */
	:: d_step { state[t] == idle && checks > 0 -> checks--; state[t] = resetting }      /* to check it: like a reset */
	od
}
#endif

#ifdef RESTS
/* The keeper has slots rest that were idle for long, so often. That is all it does: nothing settles in this holding of the lock. */
proctype Rester(byte t) {
	byte r;
end:	do
	:: d_step { state[t] == idle && !mu && r < RESTS -> r++; state[t] = resting }   /* step: rest */
	od
}
#endif

#ifdef RIVAL
/* Has a copy of the first user's lease and ends it too. */
proctype Rival() {
	byte i, k, w, x; bool in, ok;
	copied;
	if
	:: push(copy_slot, copy_number, ok)
	:: destroy(copy_slot, copy_number, ok)
	fi;
	d_step { if :: ok -> ends++ :: else fi; finished++ }
}
#endif

init {
	byte p;
	atomic {
		p = 0;
		do :: p < SIZE -> state[p] = FIRST; hint[p] = (FIRST == idle); proved(p); p++ :: else -> break od;
		p = 0;
		do :: p < USERS -> run User(); p++ :: else -> break od;
		p = 0;
		do :: p < SLOTS -> run Slot(p); p++ :: else -> break od;
		run Post();
#ifdef PAUSES
		operators++; run Pauser();
#endif
#ifdef RESIZES
		operators++; run Resizer();
#endif
#ifdef REVOKES
		operators++; run Revoker();
#endif
#ifdef CLOSES
		operators++; run Closer();
#endif
#ifdef SLICE
		run Alarm();
#endif
#ifdef SWEEPS
		operators++; run Sweeper();
#endif
#ifdef KEEPS
		p = 0;
		do :: p < SLOTS -> run Keeper(p); p++ :: else -> break od;
#endif
#ifdef RESTS
		p = 0;
		do :: p < SLOTS -> run Rester(p); p++ :: else -> break od;
#endif
#ifdef RIVAL
		run Rival();
#endif
		p = 0
	}
	/* Who is stuck before this line is an invalid end state. */
	finished == GOROUTINES && operators == 0 && !mu;
	assert(waiters == 0 && racer == NOBODY && !waiting && !racing && !starving);
#ifdef RIVAL
	assert(ends == 1);
#endif
#ifdef SWEEPS
	closed || swept && !sweeping;                            /* and every sweep ends, but in a closed pool */
#endif
	!too_many                                                /* the excess is gone in the end */
}
