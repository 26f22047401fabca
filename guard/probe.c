/* The probe from the first picture to the verdict; see probe.h. */
#include "guard/probe_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void probe_tell(const struct probe *p, float done, const char *what) {
    if (p->o->progress) p->o->progress(p->o->ctx, p->from + (p->to - p->from) * done, what);
}

/* --- the report -------------------------------------------------------------------------------------- */

static uint8_t byte_of(float v) {
    return (uint8_t)(fminf(fmaxf(v, 0), 1) * 255 + 0.5f);
}

/* The picture of a trigger: for what is added, grey is nothing. */
static void keep_picture(struct probe *p, const struct trigger *t) {
    struct probe_report *r = p->out;
    const size_t plane = (size_t)p->net.size.height * (size_t)p->net.size.width;
    if (r->mask || p->net.size.height > PROBE_REPORT_MAX_SIDE || p->net.size.width > PROBE_REPORT_MAX_SIDE)
        return;
    r->mask = malloc(plane);
    r->pattern = malloc((size_t)p->floats);
    if (!r->mask || !r->pattern) return;
    r->channels = p->net.size.channels;
    r->height = p->net.size.height;
    r->width = p->net.size.width;
    for (size_t i = 0; i < plane; i++) r->mask[i] = trigger_is_added(t->kind) ? 255 : byte_of(t->mask[i]);
    for (int64_t i = 0; i < p->floats; i++)
        r->pattern[i] = byte_of(trigger_is_added(t->kind) ? 0.5f + 4 * t->paint[i] : t->paint[i]);
}

static void write_classes(struct probe *p, bool after) {
    for (int32_t k = 0; k < p->net.classes; k++) {
        const struct class *c = &p->classes[k];
        struct probe_class *to = &p->out->classes[k];
        if (!c->close) continue;
        to->patch_after = c->score[TRIGGER_PATCH];
        to->z_after = probe_worst(c);
        if (after) continue;
        to->covered = true;
        to->patch = c->score[TRIGGER_PATCH];
        to->additive = c->score[TRIGGER_ADDITIVE] / p->spread;
        to->wave = c->score[TRIGGER_WAVE] / p->spread;
        to->window = c->score[TRIGGER_WINDOW] / p->spread;
        to->area = c->score[TRIGGER_AREA] / p->spread;
        to->z = probe_worst(c);
    }
}

/* --- all of it ------------------------------------------------------------------------------------------ */

static void repair_progress(void *ctx, float done) {
    probe_tell(ctx, done, "pruning");
}

/* The way that a person should see: the one that stands out most. */
static const struct trigger *plainest_way(const struct probe *p) {
    uint32_t at = 0;
    for (uint32_t i = 0; i < p->n_ways; i++)
        if (p->way_z[i] > p->way_z[at]) at = i;
    return p->ways[at];
}

/* Prunes against the ways into class `k` that have been found. False: that did nothing, or the time is up. */
static bool mend(struct probe *p, int32_t k) {
    const uint32_t n = probe_plain_ways(p);
    float nature[WAYS] = {0};
    bool added = false;
    for (uint32_t i = 0; i < n; i++) {
        const struct trigger *way = p->ways[i];
        nature[i] = probe_may_win(p, way);
        added |= trigger_is_added(way->kind);
    }
    struct repair r = {.net = &p->net,
                       .n_steps = image_header(p->net.img)->n_steps,
                       .pictures = p->untouched,
                       .n = UNTOUCHED,
                       .answers = p->answers,
                       .spread = p->spread,
                       .triggers = p->ways,
                       .n_triggers = n,
                       .nature = nature,
                       .target = k,
                       .pruned = p->pruned,
                       .n_pruned = p->n_pruned,
                       .progress = repair_progress,
                       .ctx = p};
    if (p->out->ways == 0) {
        p->out->success = probe_most_success(p);
        keep_picture(p, plainest_way(p));
    }
    p->out->ways += r.n_triggers;
    if (repair_run(&r)) return false;
    const bool more = r.n_pruned > p->n_pruned;
    p->n_pruned = r.n_pruned;
    if (k >= 0 && added) p->classes[k].added_beaten = r.beaten;
    p->out->drift = repair_drift(&r);
    p->out->success_after = probe_most_success(p);
    return more;
}

/* From one start at first, from several afterwards; what works goes to the ways. How far it stands out at
 * most; NAN: the time is up. */
static float look_for_away(struct probe *p, struct trigger *spare) {
    float most = -INFINITY, z = 0;
    const uint32_t starts = p->round > 0 ? STARTS : 1;
    probe_forget_ways(p);
    probe_draw_round(p, AWAY_PICTURES + p->round);
    for (p->start_seed = 0; p->start_seed < starts && !isnan(z); p->start_seed++) {
        probe_tell(p, (float)p->start_seed / (float)starts, "looking for what sends pictures away");
        z = probe_attack_away(p, spare);
        if (z >= (p->round > 0 ? AWAY_CALM : AWAY_LIMIT)) probe_add_away(p, z);
        most = fmaxf(most, z);
    }
    p->start_seed = 0;
    return isnan(z) ? z : most;
}

/* No class stands out; perhaps a place does. */
static void judge_away(struct probe *p, struct trigger *spare) {
    struct probe_report *r = p->out;
    for (p->round = 0; p->round <= ROUNDS; p->round++) {
        const float z = look_for_away(p, spare);
        if (isnan(z)) break;
        if (p->round == 0) r->away = z;
        r->verdict = p->n_ways > 0 ? PROBE_SUSPECT : p->round > 0 ? PROBE_REPAIRED : PROBE_CLEAR;
        if (p->n_ways == 0 || p->round == ROUNDS) break;
        r->target = -1;
        r->rounds++;
        if (!mend(p, -1)) break;
    }
    r->cut = p->late;
}

/* Those that stood out have to be as hard to reach as the others, from every start. Else the ways into the
 * first that isn't have been found, or the time is up. */
static bool all_are_calm(struct probe *p, struct trigger *spare) {
    const int32_t last = p->suspect; /* its ways are still at hand, to be tried again */
    for (int32_t i = -1; i < p->net.classes; i++) {
        const int32_t k = i < 0 ? last : i;
        if (k < 0 || i == last || !p->classes[k].suspected) continue;
        probe_suspect(p, k);
        if (!probe_find_ways(p, k, spare) || !probe_is_calm(p)) return false;
    }
    return true;
}

static void judge(struct probe *p, bool *chosen, struct trigger *spare) {
    struct probe_report *r = p->out;
    r->verdict = PROBE_UNKNOWN;
    for (p->round = 0; p->round <= ROUNDS; p->round++) {
        const uint32_t round = p->round;
        p->from = (float)round / (ROUNDS + 1);
        p->to = p->from + 0.6f / (ROUNDS + 1);
        const int32_t most = probe_attack_all(p, chosen, spare);
        if (most < 0) break;
        write_classes(p, round > 0);
        p->from = p->to;
        p->to = (float)(round + 1) / (ROUNDS + 1);
        if (round == 0) r->target = most;
        const int32_t out = probe_find_out(p);
        if (out < 0 && round == 0) {
            judge_away(p, spare);
            return;
        }
        r->verdict = PROBE_SUSPECT;
        if (out >= 0) {
            probe_suspect(p, out);
            if (!probe_find_ways(p, out, spare)) break;
        } else if (all_are_calm(p, spare)) {
            r->verdict = probe_can_vouch(p) ? PROBE_REPAIRED : PROBE_SUSPECT;
            return;
        }
        if (round == ROUNDS || p->late || p->n_ways == 0) break;
        r->rounds++;
        if (!mend(p, p->suspect)) break;
    }
    r->cut = p->late;
}

static int take_network(struct probe *p, const struct image *img, struct err *e) {
    const struct image_header *h = image_header(img);
    const struct shape *in = &image_tensor_at(img, h->inputs[0])->shape;
    struct probe_net *net = &p->net;
    net->img = img;
    if (h->n_inputs != 1 || in->rank != 4 || in->dim[1] > 4 || in->dim[2] < 4 || in->dim[3] < 4)
        return err_set(e, ERR_UNSUPPORTED,
                       "only networks that take one picture of up to 4 channels can be probed");
    net->size = (struct probe_size){(int32_t)in->dim[1], (int32_t)in->dim[2], (int32_t)in->dim[3]};
    p->floats = probe_floats(&net->size);
    for (int c = 0; c < 4; c++) {
        const struct image_preprocess *pre = &h->preprocess;
        net->scale[c] = pre->scale != 0 ? 255 * pre->scale / pre->std[c] : 1;
        net->shift[c] = pre->scale != 0 ? -pre->mean[c] / pre->std[c] : 0;
    }
    net->memory = p->o->memory;
    net->item_bytes = 2 * h->slab_bytes;
    const uint64_t fit = net->memory / net->item_bytes;
    net->items = fit < 1 ? 1 : fit > 8 ? 8 : (uint32_t)fit;
    if (gradient_new(img, net->items, &net->g, e)) return -1;
    gradient_before_softmax(net->g);
    net->classes = (int32_t)gradient_output_floats(net->g);
    if (net->classes < 4 || net->classes > PROBE_REPORT_MAX_CLASSES)
        return err_set(e, ERR_UNSUPPORTED, "%d classes: what stands out can't be told from fewer than 4",
                       net->classes);
    return 0;
}

static int make_room(struct probe *p, struct trigger **spare, bool **chosen, struct err *e) {
    const size_t classes = (size_t)p->net.classes;
    p->drawn = calloc(DRAWN * (size_t)p->floats, sizeof(float));
    p->margins = calloc(DRAWN * classes, sizeof(float));
    p->attacked = calloc(ATTACKED * (size_t)p->floats, sizeof(float));
    p->untouched = calloc(UNTOUCHED * (size_t)p->floats, sizeof(float));
    p->won = calloc(classes, sizeof(float));
    p->shown = calloc((size_t)p->floats, sizeof(float));
    p->answers = calloc(UNTOUCHED * classes, sizeof(float));
    p->classes = calloc(classes, sizeof *p->classes);
    p->out->classes = calloc(classes, sizeof *p->out->classes);
    p->out->pruned = calloc(REPAIR_MOST, sizeof *p->out->pruned);
    *spare = trigger_new(&p->net.size);
    *chosen = calloc(classes, sizeof **chosen);
    bool ok = p->drawn && p->margins && p->attacked && p->untouched && p->answers && p->shown && p->won &&
              p->classes && p->out->classes && p->out->pruned && *spare && *chosen;
    for (int f = 0; f < TRIGGER_KINDS; f++) ok &= (p->best[f] = trigger_new(&p->net.size)) != NULL;
    for (int i = 0; i < PLACES; i++) ok &= (p->places[i] = trigger_new(&p->net.size)) != NULL;
    return ok ? 0 : err_set(e, ERR_SYSTEM, "out of memory");
}

static void write_pruned(struct probe *p) {
    for (uint32_t i = 0; i < p->n_pruned; i++) {
        struct probe_pruned *to = &p->out->pruned[p->out->n_pruned++];
        const struct image_step *s = image_step_at(p->net.img, p->pruned[i].step);
        (void)snprintf(to->step, sizeof to->step, "%s", image_string(p->net.img, s->name));
        to->channel = (int32_t)p->pruned[i].channel;
    }
}

int probe_run(const struct image *img, const struct probe_options *o, struct probe_report *out,
              struct err *e) {
    struct probe p = {.o = o, .out = out, .net.processor_time = o->processor_time, .suspect = -1};
    struct trigger *spare = NULL;
    bool *chosen = NULL;
    *out = (struct probe_report){.target = -1, .limit = LIMIT, .seed = o->seed, .budget = o->seconds};
    p.start = probe_net_clock(&p.net);
    p.net.deadline = p.start + (uint64_t)o->seconds * 1000000000u;
    int rc = take_network(&p, img, e);
    if (rc == 0) rc = make_room(&p, &spare, &chosen, e);
    if (rc == 0) {
        probe_ask_untouched(&p);
        p.to = 0.1f;
        probe_choose(&p, chosen, spare);
        judge(&p, chosen, spare);
        write_pruned(&p);
        out->n_classes = p.net.classes;
        for (int32_t k = 0; k < p.net.classes; k++) out->n_covered += p.classes[k].covered;
        out->seconds = (uint32_t)((probe_net_clock(&p.net) - p.start) / 1000000000u);
    }
    probe_forget_ways(&p);
    trigger_free(spare);
    for (int f = 0; f < TRIGGER_KINDS; f++) trigger_free(p.best[f]);
    for (int i = 0; i < PLACES; i++) trigger_free(p.places[i]);
    free(chosen);
    free(p.drawn);
    free(p.margins);
    free(p.attacked);
    free(p.untouched);
    free(p.answers);
    free(p.shown);
    free(p.won);
    free(p.classes);
    gradient_free(p.net.g);
    if (rc) probe_report_free(out);
    return rc;
}
