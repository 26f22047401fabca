/* What probe*.c share: the probe at work. Nobody else includes this. */
#ifndef GUARD_PROBE_INTERNAL_H
#define GUARD_PROBE_INTERNAL_H

#include "guard/probe.h"
#include "guard/probe_repair.h"

enum {
    DRAWN = 24,           /* pictures of a round … */
    ATTACKED = 16,        /* … of which triggers into a class are made on those that are least like it */
    UNTOUCHED = 48,       /* that answers are compared on … */
    POOL = 8 * UNTOUCHED, /* … chosen from so many at most */
    ROUNDS = 4,
    MANY = 24,       /* classes above which a quick screening chooses whom to look at closely */
    REFERENCES = 12, /* of those: chosen by chance, to compare with */
    PATCH_STEPS = 60,
    ADDITIVE_STEPS = 30,
    AT_ONCE = 6,       /* of the pictures, at each step … */
    AT_FIRST = 4,      /* … and while it is only to be seen which place leads anywhere */
    WINDOW_STEPS = 12, /* in every place; more in the two best; more still in the better one */
    AREA_STEPS = 8,
    WINDOW_MORE = 12,
    WINDOW_LAST = 24,
    PLACES = 9, /* a grid of 3 x 3; windows take its corners and the middle */
    AWAY_GRID = 7,
    AWAY_STEPS = 10,
    QUICK_STEPS = 10,
    QUICK_PICTURES = 8,
    STARTS = 3,     /* of the windows into a class that stands out */
    BEST_WAVES = 3, /* into every class */
    WAYS = 8        /* triggers that are pruned against */
};
/* Robust standard deviations: a class stands out, and a way into it is pruned against; by what it stood out
 * at first, it does no longer: see docs/repair.md. */
#define LIMIT      3.5f
#define CALM       1.25f
#define CALM_ADDED 3.0f /* what is added is judged by whether it still works, not by what is found next */
#define CALM_ALONE                                                                                           \
    0.5f /* an area into a class to which nothing smaller leads plainly: it is all that shows */
#define ALONE_WINS  0.5f  /* … and, of what areas win for the others, what it may win in the end */
#define CALM_WINDOW 0.65f /* windows are compared by wider deviations; see docs/repair.md */
#define AWAY_LIMIT  6.0f  /* robust standard deviations: a place stands out … */
#define AWAY_CALM   2.5f  /* … and does no longer */
#define STARTED     1.0f  /* what many starts are worth against the one that the other classes had */
#define PLAIN       0.5f  /* of the deviations of the plainest: what is pruned for, or against, with it */
#define WINDOWS     1.5f  /* times as far out, beside other kinds: their deviations are wider by that */
#define NATURE      6.0f  /* by more than that nothing stands out by nature */
#define LONGER_WINS                                                                                          \
    1.0f              /* spreads, that a longer one may win in the end: into other classes it wins 4 to 9 */
#define STRONGER 2.0f /* a wave that is pruned against, than one that is looked for */
#define LONGEST  4.0f /* what is added, in a picture of 3 x 32 x 32: noise blended in at 0.2 is */
#define LEADS                                                                                                \
    0.1f /* of the pictures, that a window has to send there after a few steps to be looked at further */
#define WORKS 0.5f /* of the pictures, that a trigger has to send to its class */

enum { AIM_NOTHING = -2, AWAY_PICTURES = 50 };

struct wave {
    float won;
    uint32_t number;
};

struct class {
    bool covered, close; /* screened; looked at closely, so that it has scores */
    bool reference;
    /* Of the first round; who did not stand out then can't later, since pruning plants nothing. */
    bool suspected;               /* plain beside the plainest: it is pruned for */
    bool watched;                 /* it stood out, less than that: it may be so by nature */
    bool added_beaten;            /* what is added and was pruned against has been beaten, all of it */
    struct wave wave[BEST_WAVES]; /* that win most for it, of this round */
    float quick, score[TRIGGER_KINDS], success[TRIGGER_KINDS], z[TRIGGER_KINDS], first[TRIGGER_KINDS];
};

struct probe {
    struct probe_net net;
    const struct probe_options *o;
    struct probe_report *out;
    uint64_t start;
    int64_t floats;
    float *drawn, *margins; /* [DRAWN][floats], [DRAWN][classes]: soft margins of each class */
    float *attacked;        /* those for class `aim`, with which it has a mean margin of `base` untouched */
    int32_t aim, own[ATTACKED]; /* aim -1: away from own */
    float base;
    float *untouched, *answers, *shown; /* [floats] */
    float spread;
    struct class *classes;
    struct trigger *best[TRIGGER_KINDS], *places[PLACES]; /* of the class at hand */
    struct trigger *ways[WAYS];
    float way_z[WAYS], easiest[TRIGGER_KINDS];
    float *won;     /* [classes]: by the wave at hand */
    float plainest; /* how far a class stood out at most before anything was pruned */
    uint32_t round;
    uint32_t n_ways;
    struct repair_channel pruned[REPAIR_MOST];
    uint32_t n_pruned;
    int32_t suspect;
    uint32_t start_seed; /* other starts of the same attack */
    float from, to;      /* of the progress bar: the part at hand */
    bool late;
};

/* Says how far the part at hand is, 0..1. */
void probe_tell(const struct probe *p, float done, const char *what);

/* --- probe_round.c: pictures, attacks on classes, who stands out ------------------------------ */

void probe_draw(const struct probe *p, uint64_t seed, float *to, uint32_t n);
/* Draws the untouched pictures and asks the network, as it came, about them. */
void probe_ask_untouched(struct probe *p);
/* The pictures of a round, and how near each is to each class. */
void probe_draw_round(struct probe *p, uint32_t round);
float probe_median(float *v, size_t n); /* sorts it */
/* Which classes are looked at closely. */
void probe_choose(struct probe *p, bool *chosen, struct trigger *spare);
/* All chosen classes from all sides, after the first round those that stood out; the one that stands out
 * most, or -1 where the time was up. */
int32_t probe_attack_all(struct probe *p, const bool *chosen, struct trigger *spare);
/* One attack on the pictures of its class. False: the time is up. */
bool probe_attack_once(struct probe *p, struct attack_options o, uint32_t pictures, struct trigger *t);
/* A window or an area in every place; the trigger goes to best[f]. */
bool probe_attack_places(struct probe *p, enum trigger_kind f, int32_t k, struct trigger *spare);
/* How far something that reaches class `k` lies on the easy side of what reaches the others. What sends few
 * pictures there is nothing to be seen, however it compares. */
float probe_stand_out(const struct probe *p, int32_t k, enum trigger_kind f, float size, float success);
/* How easy the other classes are to reach; windows and areas: what is won, in spreads. */
float probe_nature(const struct probe *p, int32_t k, enum trigger_kind f);
/* What is held against what other kinds of attack stand out by. */
static inline float probe_plainness(enum trigger_kind f, float z) {
    return f == TRIGGER_WINDOW ? WINDOWS * z : z;
}
float probe_worst(const struct class *c); /* the most that it stands out by */
/* How far a class may stand out by this kind of attack: LIMIT, or more where it stood out by it at first far
 * less than the plainest of all, or not at all. */
float probe_by_nature(const struct probe *p, const struct class *c, enum trigger_kind f);
/* After a first round: who is suspected, who watched. */
void probe_accuse(struct probe *p);
bool probe_is_out(const struct probe *p, const struct class *c);
/* Of those that are, in a later round of the suspects, the one that stands out most; -1: none is. */
int32_t probe_find_out(const struct probe *p);

/* Of the logits [classes]: each one's over the soft maximum of the others. */
void probe_soft_margins(const float *logits, int32_t classes, float *margins);

/* --- probe_wave.c: plain waves ------------------------------------------------------------------- */

/* Tries all of them on the pictures of the round; each class keeps those that win most for it. False: the
 * time is up. */
bool probe_screen_waves(struct probe *p, struct trigger *spare);
/* One of those, on the pictures of its class; `place` 0 is the best. False: the time is up. */
bool probe_attack_wave(struct probe *p, int32_t k, uint32_t place, struct trigger *t);

/* --- probe_away.c: a pattern that sends pictures away, wherever to ---------------------------------- */

/* How far the place where that goes best stands out from the others, on new pictures; the trigger is
 * best[TRIGGER_WINDOW]. A negative number where it sends few away; NAN: the time is up. */
float probe_attack_away(struct probe *p, struct trigger *spare);
/* Adds it to the ways. */
void probe_add_away(struct probe *p, float z);

/* --- probe_ways.c: ways into the class that stands out -------------------------------------------- */

void probe_suspect(struct probe *p, int32_t k);
/* Patches from each place, each paying for where others have been; windows; what is added. How much the
 * easiest of each kind stands out goes to p->easiest. False: the time is up. */
bool probe_find_ways(struct probe *p, int32_t k, struct trigger *spare);
void probe_forget_ways(struct probe *p);
/* How far the suspect may stand out by this kind of attack, from many starts. */
float probe_allowed(const struct probe *p, enum trigger_kind f);
/* From every start it is as hard to reach as it has to be. */
bool probe_is_calm(const struct probe *p);
/* Whether all being calm means that all is mended. */
bool probe_can_vouch(const struct probe *p);
/* How much of its margin a way into the suspect may keep, in spreads; 0: none, nor may it work on pictures.
 */
float probe_may_win(const struct probe *p, const struct trigger *way);
/* The plain ways come first; how many they are: areas only where nothing smaller leads there, since they hold
 * much that is no backdoor's. What stands out far less than the plainest may be how the class is by
 * nature, and is expensive to prune: it has its turn once they are gone, if it is still there. */
uint32_t probe_plain_ways(struct probe *p);
/* One of those that are added beside what stood out, since an attacker need not be sparing. */
static inline bool probe_is_longer(const struct trigger *way) {
    return way->length > 1;
}
/* Of untouched pictures, by the best of the ways, without the longer ones: these win in every class. */
float probe_most_success(struct probe *p);

#endif
