/* Several clients' rings and the workers that serve them: nobody sleeps on while there is something for him.
 *
 * After client/ring.h, client/clpd_ring.c, daemon/ring.c, daemon/lookout.c and daemon/workers.c, step by step where
 * memory is shared. Processors are x86: each has a store buffer (of one entry), which memory() empties whenever it
 * likes, and a fence or a locked instruction empties first. System calls empty nothing here, a futex has no timeout
 * and no worker spins for luck, so that nothing heals what the protocol itself loses.
 *
 * Checked: no state in which a client sleeps for ever (spin's invalid end states), no request done twice or in a slot
 * that is not its own (assertions). Only safety: that nobody runs in circles for ever is not looked for.
 *
 * -DNO_FENCE=1 submit, 2 arm, 3 a client's sleep: without that fence. -DBROKEN_ARM: the daemon's flag by what the
 * daemon wrote last. -DBROKEN_PULL: whoever pulls takes the flag from a watcher that sleeps by it. -DBROKEN_WAKE: the
 * daemon takes the client's flag before it wakes it. Each of these has to be found.
 *
 * -DALWAYS_RINGS: client/python/clpd/ring.py, which has no fences of its own. It rings for every request, and its last
 * look before it sleeps is the kernel's; in both the kernel has a full barrier, which NO_FENCE takes away here too. */
#ifndef CLIENTS
#define CLIENTS 1
#endif
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef REQUESTS
#define REQUESTS 3 /* of each client */
#endif
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef STREAM
#define STREAM 0 /* requests that come past the rings */
#endif
#ifndef NO_FENCE
#define NO_FENCE 0
#endif
#define NONE 255

/* --- memory that is shared ---------------------------------------------------------------------- */

#define SUBMITTED(c)     (c)
#define DAEMON_SLEEPS(c) (CLIENTS + (c))
#define CLIENT_SLEEPS(c) (2 * CLIENTS + (c))
#define ANSWERED(c)      (3 * CLIENTS + (c))

byte mem[4 * CLIENTS];
byte request_slot[CLIENTS * SLOTS], answer_slot[CLIENTS * SLOTS]; /* the rings' entries */
byte pending_at[CLIENTS + WORKERS]; /* store buffers: where + 1; 0: empty */
byte pending_value[CLIENTS + WORKERS];

#define drained(p) (pending_at[p] == 0)

inline store(p, at, v) { atomic { drained(p); pending_at[p] = (at) + 1; pending_value[p] = v } }
inline load(p, at, r) {
    atomic {
        if
        :: pending_at[p] == (at) + 1 -> r = pending_value[p]
        :: else -> r = mem[at]
        fi
    }
}
inline exchange(p, at, v, r) { atomic { drained(p); r = mem[at]; mem[at] = v } }
inline fence(p) { drained(p) }

proctype memory(byte p) { /* of processor p: what it has stored is seen by others some time later */
end:
    do
    :: atomic {
           pending_at[p] != 0 ->
           mem[pending_at[p] - 1] = pending_value[p];
           pending_at[p] = 0;
           pending_value[p] = 0
       }
    od
}

/* --- the kernel's, the lock's ------------------------------------------------------------------- */

bool rung;                 /* the bells, and lookout_wake: an edge that nobody has waited for yet */
bool futex_waits[CLIENTS]; /* in FUTEX_WAIT on `answered` */
bool locked;               /* the workers' lock: all down to `idle` is changed under it only */
bool answering[CLIENTS];   /* ring.c */
byte taken[CLIENTS], n_answered[CLIENTS];
bool busy[CLIENTS * SLOTS], on_bells[WORKERS], idle[WORKERS];
byte watcher = NONE;
chan queue = [CLIENTS * SLOTS + STREAM] of {byte, byte}; /* the batcher: whose, slot */
#ifdef BROKEN_ARM
byte wrote[CLIENTS];
#endif
byte n_done, stream_done;

#define take_lock(p) atomic { !locked && drained(p) -> locked = true }
#define give_lock(p) atomic { drained(p) -> locked = false }

/* --- workers.c, lookout.c, ring.c ---------------------------------------------------------------- */

/* Takes somebody off the stack of idle workers, the cheapest. Under the lock. */
inline call_one(bells) {
    d_step {
        if
        :: watcher != NONE && idle[watcher] && !on_bells[watcher] -> i = watcher
        :: else ->
            i = 0;
            do
            :: i < WORKERS && (!idle[i] || i == watcher) -> i++
            :: else -> break
            od;
            if
            :: i == WORKERS && watcher != NONE && idle[watcher] -> i = watcher
            :: else
            fi
        fi;
        if
        :: i < WORKERS ->
            idle[i] = false;
            if
            :: i == watcher && on_bells[i] -> bells = true
            :: else
            fi
        :: else
        fi;
        i = 0
    }
}

inline lookout_pull() {
    i = 0;
    do
    :: i < CLIENTS ->
        load(p, SUBMITTED(i), v);
        if
        :: v != taken[i] ->
#ifdef BROKEN_ARM
            if
            :: wrote[i] -> store(p, DAEMON_SLEEPS(i), 0); wrote[i] = 0
            :: else
            fi;
#else
#ifndef BROKEN_PULL
            if
            :: watcher != NONE && on_bells[watcher] -> skip /* it sleeps by that flag */
            :: else ->
#endif
                load(p, DAEMON_SLEEPS(i), flag);
                if
                :: flag -> store(p, DAEMON_SLEEPS(i), 0)
                :: else
                fi;
#ifndef BROKEN_PULL
            fi;
#endif
#endif
            atomic {
                do
                :: taken[i] != v ->
                    slot = request_slot[i * SLOTS + taken[i] % SLOTS];
                    assert(!busy[i * SLOTS + slot]);
                    busy[i * SLOTS + slot] = true;
                    queue!i, slot;
                    taken[i]++
                :: else -> break
                od
            }
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0; v = 0; flag = 0; slot = 0
}

inline lookout_arm(news) {
    i = 0;
    do
    :: i < CLIENTS ->
#ifdef BROKEN_ARM
        flag = wrote[i];
        wrote[i] = 1;
#else
        load(p, DAEMON_SLEEPS(i), flag);
#endif
        if
        :: flag != 1 -> store(p, DAEMON_SLEEPS(i), 1)
        :: else
        fi;
        i++
    :: else -> break
    od;
#if NO_FENCE != 2
    fence(p);
#endif
    i = 0;
    do
    :: i < CLIENTS && !news ->
        load(p, SUBMITTED(i), v);
        news = v != taken[i];
        i++
    :: else -> break
    od;
    i = 0; v = 0; flag = 0
}

/* The answer goes out: without the workers' lock. */
inline answer(c, s) {
    busy[c * SLOTS + s] = false;
    atomic { !answering[c] && drained(p) -> answering[c] = true };
    answer_slot[c * SLOTS + n_answered[c] % SLOTS] = s;
    n_answered[c]++;
    store(p, ANSWERED(c), n_answered[c]);
    atomic { drained(p) -> answering[c] = false }; /* on x86 that is a fence already */
    fence(p);
    load(p, CLIENT_SLEEPS(c), flag);
#ifdef BROKEN_WAKE
    if
    :: flag -> exchange(p, CLIENT_SLEEPS(c), 0, flag)
    :: else
    fi;
#endif
    if
    :: flag -> futex_waits[c] = false
    :: else
    fi;
    flag = 0
}

proctype worker(byte w) {
    byte p = CLIENTS + w, i, v, flag, slot, next_client, next_slot, through_client, through_slot;
    bool has_next, has_through, bells, news;
    take_lock(p);
    do
    :: lookout_pull();
        if
        :: atomic { nempty(queue) -> queue?next_client, next_slot; has_next = true }
        :: empty(queue)
        fi;
        if
        :: has_next || has_through ->
            if /* for what waits, or for the watch: if that takes long enough */
            :: has_next -> call_one(bells)
            :: true
            fi;
            give_lock(p);
            if
            :: bells -> rung = true; bells = false
            :: else
            fi;
            if
            :: has_through && through_client != NONE -> answer(through_client, through_slot)
            :: has_through && through_client == NONE -> stream_done++
            :: else
            fi;
            d_step {
                has_through = has_next;
                through_client = next_client;
                through_slot = next_slot;
                has_next = false;
                next_client = 0;
                next_slot = 0
            };
            take_lock(p)
        :: !has_next && !has_through && watcher == NONE -> /* watch */
            idle[w] = true;
            watcher = w;
            give_lock(p);
            take_lock(p);
            if
            :: idle[w] ->
                lookout_arm(news);
                if
                :: !news ->
                    on_bells[w] = true;
                    give_lock(p);
end_watch:          atomic { rung -> rung = false };
                    take_lock(p);
                    on_bells[w] = false
                :: else -> news = false
                fi
            :: else
            fi;
            watcher = NONE;
            idle[w] = false
        :: !has_next && !has_through && watcher != NONE -> /* sleep_until_woken */
            idle[w] = true;
            give_lock(p);
end_sleep:  atomic { !idle[w] && !locked -> locked = true }
        fi
    od
}

/* A request over the stream: past the rings, into the batcher. */
proctype stream() {
    byte i, n;
    bool bells;
    do
    :: n < STREAM ->
        atomic { !locked -> locked = true };
        queue!NONE, 0;
        call_one(bells);
        locked = false;
        if
        :: bells -> rung = true; bells = false
        :: else
        fi;
        n++
    :: else -> break
    od
}

/* --- client/clpd_ring.c ---------------------------------------------------------------------------- */

proctype client(byte c) {
    byte p = c, submitted, seen, v, flag, slot;
    bool theirs[SLOTS];
    do
    :: submitted < REQUESTS && submitted - seen < SLOTS ->
        slot = 0;
        d_step {
            do
            :: theirs[slot] -> slot++
            :: else -> break
            od;
            theirs[slot] = true;
            request_slot[c * SLOTS + submitted % SLOTS] = slot;
            submitted++
        };
        store(p, SUBMITTED(c), submitted);
#if NO_FENCE != 1
        fence(p);
#endif
#ifdef ALWAYS_RINGS
        rung = true
#else
        load(p, DAEMON_SLEEPS(c), flag);
        if
        :: flag -> exchange(p, DAEMON_SLEEPS(c), 0, flag)
        :: else
        fi;
        if
        :: flag -> rung = true
        :: else
        fi;
        flag = 0
#endif
    :: seen < submitted ->
        load(p, ANSWERED(c), v);
        do
        :: v != seen -> break
        :: else ->
            store(p, CLIENT_SLEEPS(c), 1);
#if NO_FENCE != 3
            fence(p);
#endif
#ifndef ALWAYS_RINGS
            load(p, ANSWERED(c), v);
#endif
            if
            :: v != seen
            :: else ->
                atomic { /* FUTEX_WAIT: the kernel looks, and sleeps, in one */
                    if
                    :: mem[ANSWERED(c)] == seen -> futex_waits[c] = true
                    :: else
                    fi
                };
                !futex_waits[c]
            fi;
            store(p, CLIENT_SLEEPS(c), 0);
            load(p, ANSWERED(c), v)
        od;
        slot = answer_slot[c * SLOTS + seen % SLOTS];
        assert(theirs[slot]); /* neither doubled nor another's */
        theirs[slot] = false;
        seen++;
        v = 0; slot = 0
    :: seen == REQUESTS -> break
    od;
    drained(p);
    assert(mem[ANSWERED(c)] == REQUESTS && mem[SUBMITTED(c)] == REQUESTS);
    n_done++
}

init {
    byte k;
    atomic {
        for (k : 0 .. CLIENTS - 1) { mem[DAEMON_SLEEPS(k)] = 1; run client(k) } /* lookout_add */
        for (k : 0 .. WORKERS - 1) { run worker(k) }
        for (k : 0 .. CLIENTS + WORKERS - 1) { run memory(k) }
        if
        :: STREAM > 0 -> run stream()
        :: else
        fi
    }
}
