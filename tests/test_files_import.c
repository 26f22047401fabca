/* guard/files_import: what happens around an import, and what clpd is told. */
#include "tests/files_case.h"
#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void truncated_waits_and_the_old_one_serves(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    serve("a.onnx", 1);
    put("a.onnx", "a", 0, 8)->identity.size = 500;
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    failed_with(ERR_TRUNCATED, "graph.node 3 is cut off");
    EXPECT_STATE("a.onnx", "settling");
    CU_ASSERT_PTR_NOT_NULL(strstr(last_file.reason, "ends early (500 bytes)"));
    CU_ASSERT_FALSE(heard("RETIRE"));
    scan();
    CU_ASSERT_FALSE(files_next_import(f, &job)); /* not before it changes */
    uint64_t check = files_next_scan(f);
    CU_ASSERT_TRUE(check >= now + SETTLE && check < FILES_NEVER);
    now = check;
    scan();
    CU_ASSERT_FALSE(files_next_import(f, &job));
    CU_ASSERT_TRUE(files_next_scan(f) > now);
    put("a.onnx", "a", 0, 8)->identity.size = 1000;
    serve("a.onnx", 2);
    CU_ASSERT_EQUAL(last_offer.model_version, 2);
    finish();
}

static void rejected_is_not_retried_until_it_changes(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    failed_with(ERR_VALUE, "a NaN");
    EXPECT_STATE("a.onnx", "rejected");
    CU_ASSERT_STRING_EQUAL(last_file.reason, "a NaN");
    now += 1000000;
    scan();
    CU_ASSERT_FALSE(files_next_import(f, &job));
    put("a.onnx", "a", 0, 8);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    finish();
}

static void the_system_gets_three_tries(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    for (int i = 1; i < FILES_ATTEMPTS; i++) {
        CU_ASSERT_TRUE(next("a.onnx"));
        failed_with(ERR_SYSTEM, "no memory for a process");
        EXPECT_STATE("a.onnx", "settling");
        CU_ASSERT_FALSE(files_next_import(f, &job));
        CU_ASSERT_TRUE(files_next_scan(f) > now);
        now = files_next_scan(f);
        scan();
    }
    CU_ASSERT_TRUE(next("a.onnx"));
    failed_with(ERR_SYSTEM, "no memory for a process");
    EXPECT_STATE("a.onnx", "rejected");
    finish();
}

static void changed_while_imported(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    put("a.onnx", "a", 0, 8)->complete = true;
    CU_ASSERT_FALSE(files_import_is_stale(f, &job));
    scan();
    CU_ASSERT_TRUE(files_import_is_stale(f, &job));
    files_import_stopped(f, &job, now);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    put("a.onnx", "a", 0, 9); /* this time the scan has not seen it yet */
    done_with(1, true);
    talk();
    CU_ASSERT_EQUAL(offers, 0);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    done_with(2, true);
    talk();
    CU_ASSERT_EQUAL(offers, 1);
    finish();
}

static void endless_replacement_is_served_in_the_end(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    for (int i = 0; i < FILES_DISCARDS; i++) {
        CU_ASSERT_TRUE(next("a.onnx"));
        put("a.onnx", "a", 0, 8 + (uint64_t)i)->complete = true;
        scan();
        CU_ASSERT_TRUE(files_import_is_stale(f, &job));
        files_import_stopped(f, &job, now);
        scan();
    }
    CU_ASSERT_TRUE(next("a.onnx"));
    put("a.onnx", "a", 0, 99)->complete = true;
    scan();
    CU_ASSERT_FALSE(files_import_is_stale(f, &job));
    done_with(1, true);
    talk();
    CU_ASSERT_EQUAL(offers, 1);
    answer(true);
    scan();
    CU_ASSERT_TRUE(next("a.onnx")); /* and then the newest */
    finish();
}

static void a_torn_read_is_never_served(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    for (int i = 0; i < 2 * FILES_DISCARDS; i++) {
        CU_ASSERT_TRUE(next("a.onnx"));
        put("a.onnx", "a", 0, 7)->identity.mtime_ns = i + 1;
        done_with(1, false);
        scan();
    }
    talk();
    CU_ASSERT_EQUAL(offers, 0);
    finish();
}

static void changed_while_offered(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    done_with(1, true);
    talk();
    put("a.onnx", "a", 0, 8)->complete = true;
    scan();
    CU_ASSERT_FALSE(files_next_import(f, &job)); /* first the answer */
    answer(true);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    done_with(2, true);
    talk();
    CU_ASSERT_EQUAL(last_offer.model_version, 2);
    finish();
}

static void changed_while_sealed(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    done_with(1, true); /* clpd does not read its link just now */
    put("a.onnx", "a", 0, 8)->complete = true;
    scan();
    talk();
    CU_ASSERT_EQUAL(offers, 0);
    CU_ASSERT_TRUE(next("a.onnx"));
    finish();
}

static void refused_by_clpd(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    done_with(1, true);
    talk();
    answer(false);
    EXPECT_STATE("a.onnx", "rejected");
    CU_ASSERT_PTR_NOT_NULL(strstr(last_file.reason, "not for this CPU"));
    put("a.onnx", "a", 0, 8);
    serve("a.onnx", 2);
    CU_ASSERT_EQUAL(last_offer.model_version, 1); /* that number was never served */
    finish();
}

static void the_same_contents_make_no_version(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    serve("a.onnx", 1);
    struct spawn_digests same = {.model = {1}}, other = {.model = {2}},
                         labels = {.model = {1}, .sidecar = {5}};
    folder[0].identity.mtime_ns = 99; /* touch */
    folder[0].written = true;
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    CU_ASSERT_TRUE(files_import_is_served(f, &job, &same));
    CU_ASSERT_FALSE(files_import_is_served(f, &job, &other));
    CU_ASSERT_FALSE(files_import_is_served(f, &job, &labels));
    files_import_same(f, &job, &same, identity_of("a.onnx"), now);
    EXPECT_STATE("a.onnx", "serving");
    CU_ASSERT_EQUAL(offers, 1);
    scan();
    CU_ASSERT_FALSE(files_next_import(f, &job));
    /* with another threshold the same bytes are another model */
    files_set_options(f, &(struct files_options){.settle_ms = SETTLE, .retire_ms = RETIRE, .policy = 4});
    folder[0].identity.ctime_ns = 1;
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    CU_ASSERT_FALSE(files_import_is_served(f, &job, &same));
    finish();
}

static void written_without_a_new_time(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    serve("a.onnx", 1);
    folder[0].written = true; /* within one tick of the clock the identity stays */
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    finish();
}

static void a_restarted_guard_imports_nothing_anew(void) {
    begin();
    struct link_message m = {.version = LINK_VERSION,
                             .type = LINK_SERVING,
                             .model_version = 5,
                             .identity = {.device = 1, .inode = 7, .size = 1000},
                             .verdict = VERDICT_PRUNED};
    strcpy(m.model, "a");
    strcpy(m.path, "a.onnx");
    files_on_serving(f, &m);
    put("a.onnx", "a", 0, 7);
    scan();
    CU_ASSERT_FALSE(files_next_import(f, &job));
    EXPECT_STATE("a.onnx", "serving");
    CU_ASSERT_EQUAL(last_file.model_version, 5);
    CU_ASSERT_TRUE(files_settled(f));
    put("a.onnx", "a", 0, 8);
    serve("a.onnx", 1);
    CU_ASSERT_EQUAL(last_offer.model_version, 6);
    finish();
}

/* All that was offered comes back: what is served, under which policy, and whether it is the repaired one. */
static void a_restarted_guard_knows_what_is_served(void) {
    begin();
    const struct spawn_digests other = {.model = {2}}, less = {.model = {1}},
                               same = {.model = {1}, .sidecar = {4}, .external = {5}, .canary = {6}};
    struct link_message m = {.version = LINK_VERSION,
                             .type = LINK_SERVING,
                             .model_version = 5,
                             .policy = 3,
                             .repaired = 1,
                             .probe = 2};
    struct files_served served;
    strcpy(m.model, "a");
    state_digests_put(&same, &m);
    files_on_serving(f, &m);
    CU_ASSERT_TRUE(files_served(f, "a", &served) && served.repaired);
    CU_ASSERT_EQUAL(memcmp(&served.digests, &same, sizeof same), 0);
    put("a.onnx", "a", 0, 7); /* a file that clpd knew under no identity */
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    CU_ASSERT_FALSE(files_import_is_served(f, &job, &same)); /* without its repair */
    files_import_repairs(f, &job, true);
    CU_ASSERT_FALSE(files_import_is_served(f, &job, &other));
    CU_ASSERT_FALSE(files_import_is_served(f, &job, &less));
    CU_ASSERT_TRUE(files_import_is_served(f, &job, &same));
    files_import_same(f, &job, &same, identity_of("a.onnx"), now);
    EXPECT_STATE("a.onnx", "serving");
    CU_ASSERT_EQUAL(last_file.model_version, 5);
    put("a.onnx", "a", 0, 8);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    CU_ASSERT_FALSE(
        files_import_is_served(f, &job, &(struct spawn_digests){.model = {1}})); /* the labels are gone */
    finish();
}

static void serving_may_come_late(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    struct link_message m = {.version = LINK_VERSION,
                             .type = LINK_SERVING,
                             .model_version = 5,
                             .identity = {.device = 1, .inode = 7, .size = 1000}};
    strcpy(m.model, "a");
    strcpy(m.path, "a.onnx");
    files_on_serving(f, &m);
    CU_ASSERT_TRUE(files_import_is_stale(f, &job));
    files_import_stopped(f, &job, now);
    scan();
    EXPECT_STATE("a.onnx", "serving");
    CU_ASSERT_FALSE(files_next_import(f, &job));
    finish();
}

static void serving_may_come_even_later(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    done_with(1, true);
    struct link_message m = {.version = LINK_VERSION,
                             .type = LINK_SERVING,
                             .model_version = 5,
                             .identity = {.device = 1, .inode = 7, .size = 1000}};
    strcpy(m.model, "a");
    strcpy(m.path, "a.onnx");
    files_on_serving(f, &m);
    scan();
    EXPECT_STATE("a.onnx", "serving");
    CU_ASSERT_EQUAL(offers, 0);
    finish();
}

static void served_but_removed_before_the_restart(void) {
    begin();
    struct link_message m = {.version = LINK_VERSION, .type = LINK_SERVING, .model_version = 5};
    strcpy(m.model, "a");
    strcpy(m.path, "a.onnx");
    files_on_serving(f, &m);
    scan();
    now += RETIRE;
    scan();
    talk();
    CU_ASSERT_TRUE(heard("RETIRE a"));
    finish();
}

static void asks_for_its_data_file(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    CU_ASSERT_STRING_EQUAL(job.external, "");
    struct spawn_result r = {.fd = -1, .err = {ERR_TRUNCATED, "its weights are in w.bin"}, .needs = "w.bin"};
    files_import_failed(f, &job, &r, identity_of("a.onnx"), now);
    EXPECT_STATE("a.onnx", "settling");
    CU_ASSERT_STRING_EQUAL(files_external(f, "a.onnx"), "w.bin");
    CU_ASSERT_TRUE(files_next_scan(f) <= now);
    scan();
    CU_ASSERT_FALSE(files_next_import(f, &job));
    folder[0].identity.ctime_ns = 17; /* now w.bin is part of the identity */
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    CU_ASSERT_STRING_EQUAL(job.external, "w.bin");
    finish();
}

static void removed_while_imported(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    take_away("a.onnx");
    scan();
    CU_ASSERT_TRUE(files_import_is_stale(f, &job));
    files_import_stopped(f, &job, now);
    CU_ASSERT_TRUE(files_next_scan(f) <= now);
    scan();
    talk();
    CU_ASSERT_TRUE(heard("GONE a.onnx"));
    CU_ASSERT_FALSE(files_next_import(f, &job));
    finish();
}

static void removed_while_offered(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    done_with(1, true);
    talk();
    take_away("a.onnx");
    scan();
    answer(true);
    scan();
    now += RETIRE;
    scan();
    talk();
    CU_ASSERT_TRUE(heard("RETIRE a \nGONE a.onnx"));
    finish();
}

static void back_before_it_was_forgotten(void) {
    begin();
    put("a.onnx", "a", 0, 7)->trouble = "junk";
    scan();
    take_away("a.onnx");
    scan(); /* GONE is due but clpd does not read */
    put("a.onnx", "a", 0, 8);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    talk();
    CU_ASSERT_FALSE(heard("GONE"));
    finish();
}

/* Whatever comes in whatever order: no illegal step (an assertion), no image lost, no two imports at once. */
static void any_order_of_events(void) {
    srand(20240613);
    for (int round = 0; round < 400; round++) {
        static const char *const paths[] = {"a.onnx", "a/1/model.onnx", "a/2/model.onnx", "b.onnx"};
        static const char *const names[] = {"a", "a", "a", "b"};
        static const uint64_t numbers[] = {0, 1, 2, 0};
        bool importing = false, awaiting = false;
        int before = memfd_create("t", MFD_CLOEXEC);
        (void)close(before);
        begin();
        for (int step = 0; step < 120; step++) {
            int k = rand() % 4;
            now += (uint64_t)(rand() % 3000);
            switch (rand() % 12) {
            case 0:
                put(paths[k], names[k], numbers[k], (uint64_t)rand() % 5)->age_ms = (uint64_t)rand() % 4000;
                break;
            case 1: take_away(paths[k]); break;
            case 2:
                if (n_folder) folder[rand() % n_folder].written = true;
                break;
            case 3:
                if (n_folder) folder[rand() % n_folder].complete = true;
                break;
            case 4: files_scan_failed(f, "gone", now); break;
            case 5:
                if (!importing) importing = files_next_import(f, &job);
                break;
            case 6:
                if (importing && rand() % 2)
                    done_with((uint8_t)(rand() % 3), rand() % 4);
                else if (importing)
                    failed_with((enum err_code)(1 + rand() % (ERR_CODES - 1)), "bad");
                importing = false;
                break;
            case 7:
                if (importing && files_import_is_stale(f, &job))
                    files_import_stopped(f, &job, now), importing = false;
                break;
            case 8:
                if (importing)
                    files_import_same(f, &job, &(struct spawn_digests){.model = {1}}, identity_of(job.path),
                                      now),
                        importing = false;
                break;
            case 9: said[0] = 0, offers = 0, talk(), awaiting |= offers > 0; break;
            case 10:
                if (awaiting) answer(rand() % 4), awaiting = false;
                break;
            default: scan(); break;
            }
        }
        finish();
        int after = memfd_create("t", MFD_CLOEXEC);
        (void)close(after);
        CU_ASSERT_EQUAL(before, after);
    }
    forget_talk();
}

/* --- probes ------------------------------------------------------------------------------ */

static void waits_with(uint8_t digest) {
    struct spawn_result r = {
        .fd = memfd_create("t", MFD_CLOEXEC), .has_digests = true, .digests.model = {digest}};
    files_import_waits(f, &job, &r, identity_of(job.path), true, now);
    CU_ASSERT_EQUAL(r.fd, -1);
}

static bool subject(size_t i, struct files_subject *s) {
    return files_subject(f, i, s) && s->job.file;
}

static void waits_for_its_probe(void) {
    const struct spawn_digests d = {.model = {2}};
    struct files_subject s;
    begin();
    put("a.onnx", "a", 0, 1);
    serve("a.onnx", 1);
    CU_ASSERT(subject(0, &s) && s.version == 1 && !s.repaired);
    put("a.onnx", "a", 0, 2);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    waits_with(2);
    EXPECT_STATE("a.onnx", "probing");
    CU_ASSERT_EQUAL(offers, 1); /* the old one serves meanwhile */
    CU_ASSERT(subject(0, &s) && s.version == 0 && s.digests.model[0] == 2);
    files_probe_progress(f, "a.onnx", "half of it");
    talk();
    CU_ASSERT_STRING_EQUAL(last_file.reason, "half of it");
    files_probed(f, "a.onnx", &(struct spawn_digests){.model = {7}}, NULL, now); /* of other contents */
    EXPECT_STATE("a.onnx", "probing");
    files_probed(f, "a.onnx", &d, NULL, now);
    talk();
    CU_ASSERT_EQUAL(offers, 2);
    answer(true);
    EXPECT_STATE("a.onnx", "serving");
    finish();
}

static void held_by_its_probe_or_outdated(void) {
    const struct spawn_digests d = {.model = {1}};
    begin();
    put("a.onnx", "a", 0, 1);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    waits_with(1);
    files_probed(f, "a.onnx", &d, "class 3 stands out", now);
    EXPECT_STATE("a.onnx", "held");
    CU_ASSERT_PTR_NOT_NULL(strstr(last_file.reason, "class 3 stands out; clpctl accept a"));
    put("a.onnx", "a", 0, 2);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    waits_with(2);
    put("a.onnx", "a", 0, 3); /* it changes while it waits */
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    done_with(3, true);
    talk();
    CU_ASSERT_EQUAL(offers, 1);
    finish();
}

/* The same file becomes another version: with the channels that its probe named. */
static void repaired_is_a_new_version(void) {
    struct files_subject s;
    begin();
    put("a.onnx", "a", 0, 1);
    serve("a.onnx", 1);
    files_repair(f, "a.onnx", now);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    const struct spawn_digests d = {.model = {1}};
    CU_ASSERT_TRUE(files_import_is_served(f, &job, &d)); /* without them it would be what serves */
    files_import_again(f, &job, now);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    files_import_repairs(f, &job, true);
    CU_ASSERT_FALSE(files_import_is_served(f, &job, &d));
    done_with(1, true);
    talk();
    CU_ASSERT_EQUAL(last_offer.model_version, 2);
    answer(true);
    EXPECT_STATE("a.onnx", "serving");
    CU_ASSERT(subject(0, &s) && s.version == 2 && s.repaired);
    scan(); /* and stays so */
    CU_ASSERT_FALSE(next("a.onnx"));
    finish();
}

SUITE(files_import, {"truncated waits, and the old one serves", truncated_waits_and_the_old_one_serves},
      {"rejected is not retried until it changes", rejected_is_not_retried_until_it_changes},
      {"the system gets three tries", the_system_gets_three_tries},
      {"changed while imported", changed_while_imported},
      {"endless replacement is served in the end", endless_replacement_is_served_in_the_end},
      {"a torn read is never served", a_torn_read_is_never_served},
      {"changed while offered", changed_while_offered}, {"changed while sealed", changed_while_sealed},
      {"refused by clpd", refused_by_clpd}, {"waits for its probe", waits_for_its_probe},
      {"held by its probe, or outdated", held_by_its_probe_or_outdated},
      {"repaired is a new version", repaired_is_a_new_version},
      {"the same contents make no version", the_same_contents_make_no_version},
      {"written without a new time", written_without_a_new_time},
      {"a restarted guard imports nothing anew", a_restarted_guard_imports_nothing_anew},
      {"a restarted guard knows what is served", a_restarted_guard_knows_what_is_served},
      {"SERVING may come late", serving_may_come_late}, {"and even later", serving_may_come_even_later},
      {"served but removed before the restart", served_but_removed_before_the_restart},
      {"asks for its data file", asks_for_its_data_file}, {"removed while imported", removed_while_imported},
      {"removed while offered", removed_while_offered},
      {"back before it was forgotten", back_before_it_was_forgotten},
      {"any order of events", any_order_of_events});
