/* guard/files: scans, waiting, removal and rank, told with made-up folders, times and answers. */
#include "tests/files_case.h"
#include "tests/suite.h"

#include <string.h>

static void from_seen_to_serving(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    EXPECT_STATE("a.onnx", "seen");
    CU_ASSERT_FALSE(files_settled(f));
    CU_ASSERT_TRUE(next("a.onnx"));
    EXPECT_STATE("a.onnx", "importing");
    CU_ASSERT_FALSE(next("a.onnx"));
    done_with(1, true);
    talk();
    CU_ASSERT_TRUE(heard("FILE a.onnx sealed\nOFFER a.onnx \nFILE a.onnx offered\n"));
    CU_ASSERT_EQUAL(last_offer.model_version, 1);
    CU_ASSERT_EQUAL(last_offer.sha256[0], 1);
    CU_ASSERT_STRING_EQUAL(last_offer.model, "a");
    CU_ASSERT_EQUAL(last_offer.verdict, VERDICT_UNCHANGED);
    CU_ASSERT_FALSE(files_settled(f));
    answer(true);
    EXPECT_STATE("a.onnx", "serving");
    CU_ASSERT_EQUAL(last_file.model_version, 1);
    CU_ASSERT_TRUE(files_settled(f));
    scan();
    CU_ASSERT_FALSE(files_next_import(f, &job)); /* nothing has changed */
    CU_ASSERT_EQUAL(files_next_scan(f), FILES_NEVER);
    finish();
}

static void versions_count_up(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    serve("a.onnx", 1);
    put("a.onnx", "a", 0, 8);
    serve("a.onnx", 2);
    CU_ASSERT_EQUAL(last_offer.model_version, 2);
    finish();
}

static void waits_until_quiet(void) {
    begin();
    put("a.onnx", "a", 0, 7)->age_ms = 10;
    scan();
    EXPECT_STATE("a.onnx", "settling");
    CU_ASSERT_PTR_NOT_NULL(strstr(last_file.reason, "2000 ms"));
    CU_ASSERT_FALSE(files_next_import(f, &job));
    CU_ASSERT_EQUAL(files_next_scan(f), now + SETTLE);
    now += 1500;
    put("a.onnx", "a", 0, 7)->identity.size = 2000; /* it grows: the wait begins anew */
    folder[0].age_ms = 10;
    scan();
    CU_ASSERT_EQUAL(files_next_scan(f), now + SETTLE);
    now += SETTLE;
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    finish();
}

static void a_closed_file_need_not_wait(void) {
    begin();
    struct file_entry *e = put("a.onnx", "a", 0, 7);
    e->age_ms = 10;
    scan(); /* found by IN_CREATE */
    CU_ASSERT_FALSE(files_next_import(f, &job));
    e->complete = e->written = true; /* IN_CLOSE_WRITE, no further change */
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    finish();
}

static void a_future_date_waits_no_longer(void) {
    begin();
    put("a.onnx", "a", 0, 7)->age_ms = 0;
    scan();
    now += SETTLE;
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    finish();
}

static void empty_and_bad_entries(void) {
    begin();
    struct file_entry *e = put("empty.onnx", "empty", 0, 1);
    e->trouble = "the file is empty: waiting for its contents", e->passing = true;
    put("dir.onnx", "dir", 0, 2)->trouble = "dir.onnx is a directory";
    scan();
    EXPECT_STATE("empty.onnx", "settling");
    EXPECT_STATE("dir.onnx", "rejected");
    CU_ASSERT_FALSE(files_next_import(f, &job));
    CU_ASSERT_TRUE(files_settled(f));
    put("empty.onnx", "empty", 0, 1)->identity.size = 9;
    scan();
    CU_ASSERT_TRUE(next("empty.onnx"));
    finish();
}

static void a_removed_model_is_retired(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    put("b.onnx", "b", 0, 8)->trouble = "junk";
    serve("a.onnx", 1);
    take_away("a.onnx");
    take_away("b.onnx");
    scan();
    talk();
    CU_ASSERT_TRUE(heard("GONE b.onnx"));
    CU_ASSERT_FALSE(heard("RETIRE a"));
    EXPECT_STATE("a.onnx", "serving");
    CU_ASSERT_PTR_NOT_NULL(strstr(last_file.reason, "gone"));
    CU_ASSERT_EQUAL(files_next_scan(f), now + RETIRE);
    now += RETIRE;
    scan();
    talk();
    CU_ASSERT_TRUE(heard("RETIRE a \nGONE a.onnx"));
    put("a.onnx", "a", 0, 9);
    serve("a.onnx", 1);
    CU_ASSERT_EQUAL(last_offer.model_version, 2); /* versions go on counting */
    finish();
}

static void delete_and_write_anew_is_no_retirement(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    serve("a.onnx", 1);
    take_away("a.onnx");
    scan();
    now += RETIRE / 2;
    put("a.onnx", "a", 0, 9)->age_ms = 0;
    scan();
    EXPECT_STATE("a.onnx", "settling");
    now += RETIRE;
    folder[0].age_ms = RETIRE;
    serve("a.onnx", 2);
    CU_ASSERT_FALSE(heard("RETIRE"));
    finish();
}

static void a_bad_replacement_that_is_removed(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    serve("a.onnx", 1);
    put("a.onnx", "a", 0, 8);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    failed_with(ERR_FORMAT, "junk");
    scan();
    CU_ASSERT_FALSE(heard("RETIRE"));
    take_away("a.onnx");
    scan();
    now += RETIRE;
    scan();
    talk();
    CU_ASSERT_TRUE(heard("RETIRE a"));
    finish();
}

static void a_missing_folder_changes_nothing(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    serve("a.onnx", 1);
    files_scan_failed(f, "/models is missing", now);
    EXPECT_STATE("a.onnx", "serving");
    CU_ASSERT_STRING_EQUAL(last_file.reason, "/models is missing: still served");
    now += 100 * RETIRE;
    files_scan_failed(f, "/models is missing", now);
    CU_ASSERT_FALSE(heard("RETIRE"));
    scan(); /* it is back, and unchanged */
    EXPECT_STATE("a.onnx", "serving");
    CU_ASSERT_STRING_EQUAL(last_file.reason, "");
    files_scan_failed(f, "/models is missing", now);
    n_folder = 0;
    scan(); /* it is back, and empty: only now the time begins */
    now += RETIRE - 1;
    scan();
    talk();
    CU_ASSERT_FALSE(heard("RETIRE"));
    now += 1;
    scan();
    talk();
    CU_ASSERT_TRUE(heard("RETIRE a"));
    finish();
}

static void the_highest_version_wins(void) {
    begin();
    put("a/1/model.onnx", "a", 1, 1);
    put("a/2/model.onnx", "a", 2, 2);
    put("a/10/model.onnx", "a", 10, 3);
    serve("a/10/model.onnx", 1);
    EXPECT_STATE("a/1/model.onnx", "superseded");
    EXPECT_STATE("a/2/model.onnx", "superseded");
    CU_ASSERT_FALSE(files_next_import(f, &job));
    put("a/11/model.onnx", "a", 11, 4);
    serve("a/11/model.onnx", 2);
    EXPECT_STATE("a/10/model.onnx", "superseded");
    take_away("a/11/model.onnx"); /* going back by deleting */
    scan();
    talk();
    CU_ASSERT_TRUE(heard("GONE a/11/model.onnx"));
    serve("a/10/model.onnx", 1);
    CU_ASSERT_EQUAL(last_offer.model_version, 3);
    CU_ASSERT_FALSE(heard("RETIRE"));
    finish();
}

static void a_bad_new_version_leaves_the_old_one(void) {
    begin();
    put("a/1/model.onnx", "a", 1, 1);
    serve("a/1/model.onnx", 1);
    put("a/2/model.onnx", "a", 2, 2);
    scan();
    CU_ASSERT_TRUE(next("a/2/model.onnx"));
    failed_with(ERR_VALUE, "NaN");
    EXPECT_STATE("a/2/model.onnx", "rejected");
    scan();
    CU_ASSERT_FALSE(files_next_import(f, &job));
    EXPECT_STATE("a/1/model.onnx", "serving");
    finish();
}

static void at_start_a_bad_version_is_passed_over(void) {
    begin();
    put("a/1/model.onnx", "a", 1, 1);
    put("a/2/model.onnx", "a", 2, 2);
    scan();
    CU_ASSERT_TRUE(next("a/2/model.onnx"));
    failed_with(ERR_VALUE, "NaN");
    serve("a/1/model.onnx", 1);
    finish();
}

static void half_a_copy_brings_no_old_version_back(void) {
    begin();
    put("a/1/model.onnx", "a", 1, 1);
    put("a/2/model.onnx", "a", 2, 2);
    serve("a/2/model.onnx", 2);
    put("a/2/model.onnx", "a", 2, 22);
    scan();
    CU_ASSERT_TRUE(next("a/2/model.onnx"));
    failed_with(ERR_TRUNCATED, "cut");
    scan();
    CU_ASSERT_FALSE(files_next_import(f, &job));
    EXPECT_STATE("a/1/model.onnx", "superseded");
    put("a/1/model.onnx", "a", 1, 11); /* nor does a change of the old one */
    scan();
    CU_ASSERT_FALSE(files_next_import(f, &job));
    finish();
}

static void the_plain_file_wins(void) {
    begin();
    put("a/7/model.onnx", "a", 7, 1);
    put("a.onnx", "a", 0, 2);
    serve("a.onnx", 1);
    put("a/7/model.onnx", "a", 7, 3);
    scan();
    EXPECT_STATE("a/7/model.onnx", "superseded");
    CU_ASSERT_PTR_NOT_NULL(strstr(last_file.reason, "NAME.onnx before"));
    finish();
}

static void names_are_not_mixed_up(void) {
    begin();
    put("a.onnx", "a", 0, 1);
    put("ab.onnx", "ab", 0, 2);
    put("a-b.onnx", "a-b", 0, 3);
    struct file_entry *e = put("bad name.onnx", "", 0, 4);
    e->trouble = "a name has no spaces";
    e = put("worse name.onnx", "", 0, 5);
    e->trouble = "a name has no spaces";
    scan();
    CU_ASSERT_TRUE(files_next_import(f, &job));
    done_with(1, true);
    CU_ASSERT_TRUE(files_next_import(f, &job));
    done_with(2, true);
    CU_ASSERT_TRUE(files_next_import(f, &job));
    done_with(3, true);
    talk();
    CU_ASSERT_EQUAL(offers, 3);
    EXPECT_STATE("bad name.onnx", "rejected");
    EXPECT_STATE("worse name.onnx", "rejected");
    finish();
}

static void equal_sizes_go_by_age(void) {
    begin();
    put("z.onnx", "z", 0, 1);
    scan();
    put("a.onnx", "a", 0, 2);
    scan();
    CU_ASSERT_TRUE(next("z.onnx"));
    done_with(1, true);
    CU_ASSERT_TRUE(next("a.onnx"));
    finish();
}

static int heard_superseded;
static void count_superseded(void *arg, const struct link_message *m, uint32_t from) {
    (void)arg;
    heard_superseded += m->state == FILE_SUPERSEDED && from != m->state;
}

static void several_at_once_but_not_of_one_model(void) {
    begin();
    put("a/2/model.onnx", "a", 2, 1);
    put("b.onnx", "b", 0, 2);
    scan();
    CU_ASSERT_TRUE(next("a/2/model.onnx"));
    struct file_job first = job;
    put("a/3/model.onnx", "a", 3, 3);
    scan();
    CU_ASSERT_TRUE(next("b.onnx"));
    CU_ASSERT_FALSE(files_next_import(f, &job));
    done_with(1, true); /* the later one is through first */
    EXPECT_STATE("b.onnx", "offered");
    job = first;
    done_with(2, true);
    CU_ASSERT_TRUE(next("a/3/model.onnx"));
    EXPECT_STATE("a/2/model.onnx", "superseded"); /* before it was offered: a newer one is there */
    finish();
}

static void small_ones_first_but_nobody_starves(void) {
    static char names[2 * FILES_PASSES][16], models[2 * FILES_PASSES][16];
    begin();
    put("large.onnx", "large", 0, 1)->identity.size = 1000000;
    scan();
    int before = 0;
    while (before < 2 * FILES_PASSES) { /* there is always a small one that came later */
        n_folder = 1;
        (void)snprintf(models[before], sizeof models[0], "m%d", before);
        (void)snprintf(names[before], sizeof names[0], "m%d.onnx", before);
        put(names[before], models[before], 0, 2);
        scan();
        CU_ASSERT_TRUE_FATAL(files_next_import(f, &job));
        if (strcmp(job.path, "large.onnx") == 0) break;
        done_with((uint8_t)before++, true);
        talk();
        answer(true);
    }
    CU_ASSERT_EQUAL(before, FILES_PASSES);
    finish();
}

static void each_replaced_content_is_said_to_be_superseded(void) {
    begin();
    put("a.onnx", "a", 0, 1);
    scan(); /* in the queue */
    heard_superseded = 0;
    files_set_trace(f, count_superseded, NULL);
    put("a.onnx", "a", 0, 2)->complete = true;
    scan();
    CU_ASSERT_EQUAL(heard_superseded, 1);
    CU_ASSERT_TRUE(next("a.onnx")); /* being imported */
    put("a.onnx", "a", 0, 3)->complete = true;
    scan();
    CU_ASSERT_TRUE(files_import_is_stale(f, &job));
    files_import_stopped(f, &job, now);
    CU_ASSERT_EQUAL(heard_superseded, 2);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    done_with(1, true); /* sealed, and not offered yet */
    put("a.onnx", "a", 0, 4)->complete = true;
    scan();
    CU_ASSERT_EQUAL(heard_superseded, 3);
    serve("a.onnx", 2);
    CU_ASSERT_EQUAL(offers, 1); /* the newest alone */
    finish();
}

SUITE(files, {"from seen to serving", from_seen_to_serving}, {"versions count up", versions_count_up},
      {"waits until quiet", waits_until_quiet}, {"a closed file need not wait", a_closed_file_need_not_wait},
      {"a future date waits no longer", a_future_date_waits_no_longer},
      {"empty and bad entries", empty_and_bad_entries},
      {"a removed model is retired", a_removed_model_is_retired},
      {"delete and write anew is no retirement", delete_and_write_anew_is_no_retirement},
      {"a bad replacement that is removed", a_bad_replacement_that_is_removed},
      {"a missing folder changes nothing", a_missing_folder_changes_nothing},
      {"the highest version wins", the_highest_version_wins},
      {"a bad new version leaves the old one", a_bad_new_version_leaves_the_old_one},
      {"at start a bad version is passed over", at_start_a_bad_version_is_passed_over},
      {"half a copy brings no old version back", half_a_copy_brings_no_old_version_back},
      {"the plain file wins", the_plain_file_wins}, {"names are not mixed up", names_are_not_mixed_up},
      {"equal sizes go by age", equal_sizes_go_by_age},
      {"several at once, but not of one model", several_at_once_but_not_of_one_model},
      {"small ones first, but nobody starves", small_ones_first_but_nobody_starves},
      {"each replaced content is said to be superseded", each_replaced_content_is_said_to_be_superseded});
