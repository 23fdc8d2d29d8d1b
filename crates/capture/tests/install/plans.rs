//! What a plan contains: nothing when all is there, the difference when something is not, and everything for a removal.

use pregon_capture::connect::Settings;
use pregon_capture::install::{
    self, State, StepKind, Target, WatchSpec, apply, coverage, plan, status, status_of,
};
use pregon_capture::query::{Pool, PoolOptions};
use pregon_testkit::postgres::{Database, Options, Server, shared};

use crate::kit::{ALL, Fixture, install, watch};

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, n int); CREATE TABLE u (id int)";

fn target(watches: Vec<WatchSpec>) -> Target {
    Target {
        watches,
        ..Target::default()
    }
}

#[tokio::test]
async fn an_applied_plan_leaves_nothing_to_do() {
    let f = Fixture::new(TABLE, vec![]).await;
    let role = f.db.create_role("gateway").await.unwrap();
    let full = WatchSpec {
        condition: Some("n > 1 AND n::text <> 'it''s'".into()),
        columns: Some(vec!["n".into()]),
        old: true,
        ..watch("with \"everything\"", "t", &ALL)
    };
    let target = Target {
        gateway_role: Some(role),
        ..target(vec![full, watch("plain", "u", &ALL)])
    };
    let first = install(&f.admin, &target).await.unwrap();
    assert!(!first.is_empty());
    let second = plan(&f.admin, &target).await.unwrap();
    assert!(second.is_empty(), "{second}");
    let state = status(&f.admin).await.unwrap();
    assert!(state.is_sound() && state.is_installed(), "{state:?}");
    assert_eq!(state.triggers.len(), 6);
}

#[tokio::test]
async fn the_script_is_what_runs() {
    let f = Fixture::new(TABLE, vec![]).await;
    let target = target(vec![watch("t", "t", &ALL)]);
    let planned = plan(&f.admin, &target).await.unwrap();
    f.admin.batch_execute(&planned.sql()).await.unwrap();
    assert!(plan(&f.admin, &target).await.unwrap().is_empty());
}

#[tokio::test]
async fn only_what_differs_is_planned() {
    let f = Fixture::new(TABLE, vec![watch("t", "t", &ALL)]).await;
    f.admin
        .batch_execute(
            "ALTER TABLE t DISABLE TRIGGER \"!pregon_t\"; DROP TRIGGER \"!pregon_t_truncate\" ON t",
        )
        .await
        .unwrap();
    let state = status(&f.admin).await.unwrap();
    assert!(!state.is_sound());
    let planned = plan(&f.admin, &target(vec![watch("t", "t", &ALL)]))
        .await
        .unwrap();
    let steps: Vec<(StepKind, &str)> = planned
        .steps
        .iter()
        .map(|step| (step.kind, step.object.as_str()))
        .collect();
    assert_eq!(
        steps,
        [
            (StepKind::Replace, "trigger !pregon_t on public.t"),
            (StepKind::Create, "trigger !pregon_t_truncate on public.t"),
            (StepKind::Create, "gap of watch t"),
        ]
    );
    // A new condition changes the function only: no lock on the table.
    install(&f.admin, &target(vec![watch("t", "t", &ALL)]))
        .await
        .unwrap();
    let changed = WatchSpec {
        condition: Some("n > 0".into()),
        ..watch("t", "t", &ALL)
    };
    let planned = plan(&f.admin, &target(vec![changed])).await.unwrap();
    assert_eq!(planned.steps.len(), 1, "{planned}");
    assert_eq!(planned.steps[0].object, "function pregon.notify_t");
}

#[tokio::test]
async fn status_misses_what_the_target_wants() {
    let watches = vec![watch("t", "t", &ALL), watch("u", "u", &ALL)];
    let f = Fixture::new(TABLE, watches.clone()).await;
    let want = target(watches);
    let unsound = async |target: &Target| {
        let status = status_of(&f.admin, target).await.unwrap();
        let functions = status.functions.iter().map(|one| (&one.name, &one.state));
        let triggers = status.triggers.iter().map(|one| (&one.name, &one.state));
        let all = functions.chain(triggers);
        let bad: Vec<String> = all
            .filter(|(_, state)| **state != State::Ok)
            .map(|(name, state)| format!("{name} {state:?}"))
            .collect();
        assert_eq!(bad.is_empty(), status.is_sound());
        bad
    };
    assert_eq!(unsound(&want).await, Vec::<String>::new());
    f.admin
        .batch_execute("DROP TRIGGER \"!pregon_t_update\" ON t; DROP TABLE u")
        .await
        .unwrap();
    assert_eq!(unsound(&want).await, [" Missing", "!pregon_t_update Missing"]);
    let other = WatchSpec {
        condition: Some("n > 0".into()),
        ..watch("t", "t", &ALL)
    };
    let bad = unsound(&target(vec![other, watch("new", "t", &ALL)]))
        .await
        .join("; ");
    for words in [
        "pregon.notify_t Modified(\"it is not what",
        "pregon.notify_u Modified(\"the configuration has no watch",
        "pregon.notify_new Missing",
        "pregon_new_truncate Missing",
    ] {
        assert!(bad.contains(words), "{words} in {bad}");
    }
    f.admin.batch_execute("DROP FUNCTION pregon.fit").await.unwrap();
    assert!(unsound(&want).await.contains(&"pregon.fit Missing".to_owned()));
}

#[tokio::test]
async fn the_gateway_sees_which_triggers_do_not_fire() {
    let tables = "CREATE TABLE t (id int PRIMARY KEY, n int); CREATE TABLE \"a\"\"b\" (id int); CREATE TABLE c () INHERITS (t);
        CREATE TABLE p (id int) PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)";
    let watches = vec![
        watch("t", "t", &ALL),
        watch("q", "a\"b", &ALL),
        watch("p", "p", &ALL),
    ];
    let f = Fixture::new(tables, watches.clone()).await;
    let role = f.db.create_role("gateway").await.unwrap();
    let pool = Pool::new(PoolOptions::new(Settings::parse(&f.db.url_as(&role)).unwrap()));
    let missing = async || coverage(&pool, &watches).await.unwrap().missing;
    assert_eq!(missing().await, Vec::<String>::new());
    f.admin
        .batch_execute(
            "ALTER TABLE ONLY t DISABLE TRIGGER \"!pregon_t\"; DROP TRIGGER \"!pregon_q_truncate\" ON \"a\"\"b\";
             DROP TRIGGER \"!pregon_t\" ON c; ALTER TABLE p1 DISABLE TRIGGER \"!pregon_p\"; CREATE TABLE d () INHERITS (c)",
        )
        .await
        .unwrap();
    assert_eq!(
        missing().await,
        [
            "watch \"p\": no enabled trigger for INSERT, UPDATE, DELETE on public.p1",
            "watch \"q\": no enabled trigger for TRUNCATE on public.\"a\"\"b\"",
            "watch \"t\": no enabled trigger for INSERT, UPDATE, DELETE on public.c",
            "watch \"t\": no enabled trigger for INSERT, UPDATE, DELETE on public.d",
            "watch \"t\": no enabled trigger for INSERT, UPDATE, DELETE on public.t",
        ]
    );
    f.admin.batch_execute("DROP TABLE \"a\"\"b\"").await.unwrap();
    let gone = "watch \"q\": there is no table public.\"a\"\"b\"".to_owned();
    assert!(missing().await.contains(&gone));
}

#[tokio::test]
async fn a_tampered_function_is_seen_and_restored() {
    let f = Fixture::new(TABLE, vec![watch("t", "t", &ALL)]).await;
    f.admin
        .batch_execute(
            "CREATE OR REPLACE FUNCTION pregon.notify_t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             GRANT EXECUTE ON FUNCTION pregon.notify_t() TO PUBLIC",
        )
        .await
        .unwrap();
    let state = status(&f.admin).await.unwrap();
    let function = state
        .functions
        .iter()
        .find(|function| function.watch.as_deref() == Some("t"))
        .unwrap();
    assert!(matches!(function.state, State::Modified(_)));
    let planned = install(&f.admin, &target(vec![watch("t", "t", &ALL)]))
        .await
        .unwrap();
    assert_eq!(planned.steps.len(), 1, "{planned}");
    assert!(status(&f.admin).await.unwrap().is_sound());
}

#[tokio::test]
async fn what_is_no_longer_wanted_goes() {
    let mut f = Fixture::new(TABLE, vec![watch("t", "t", &ALL), watch("u", "u", &ALL)]).await;
    install(&f.admin, &target(vec![watch("t", "u", &ALL)]))
        .await
        .unwrap();
    assert!(
        plan(&f.admin, &target(vec![watch("t", "u", &ALL)]))
            .await
            .unwrap()
            .is_empty()
    );
    let got = f
        .after("INSERT INTO t VALUES (1); INSERT INTO u VALUES (2)")
        .await;
    assert_eq!(got.len(), 1);
    let keep = Target {
        prune: false,
        ..target(vec![])
    };
    assert!(plan(&f.admin, &keep).await.unwrap().is_empty());
}

#[tokio::test]
async fn two_nodes_may_start_at_once() {
    let db = Database::create(shared().await).await.unwrap();
    db.execute(TABLE).await.unwrap();
    let target = target(vec![watch("t", "t", &ALL), watch("u", "u", &ALL)]);
    let clients: Vec<_> = futures_util::future::join_all((0..4).map(|_| db.client())).await;
    let runs = clients
        .iter()
        .map(|client| install(client.as_ref().unwrap(), &target));
    for result in futures_util::future::join_all(runs).await {
        result.unwrap();
    }
    let admin = db.client().await.unwrap();
    assert!(plan(&admin, &target).await.unwrap().is_empty());
    assert!(status(&admin).await.unwrap().is_sound());
}

#[tokio::test]
async fn a_locked_table_is_waited_for_in_short_turns() {
    let f = Fixture::new(TABLE, vec![]).await;
    let writer = f.db.client().await.unwrap();
    writer
        .batch_execute("BEGIN; INSERT INTO t VALUES (1, 1)")
        .await
        .unwrap();
    let target = target(vec![watch("t", "t", &ALL)]);
    let planned = plan(&f.admin, &target).await.unwrap();
    let mut done = 0;
    let mut count = |_: &install::Step| done += 1;
    let installing = apply(&f.admin, &planned, &mut count);
    let writing = async {
        // Another writer passes although the installer waits, then the first one ends.
        let other = f.db.client().await.unwrap();
        other.batch_execute("INSERT INTO t VALUES (2, 2)").await.unwrap();
        let waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'ShareRowExclusiveLock' AND relation = 't'::regclass";
        while other.query_opt(waits, &[]).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        writer.batch_execute("COMMIT").await.unwrap();
    };
    let (result, ()) = tokio::join!(installing, writing);
    result.unwrap();
    assert_eq!(done, planned.steps.len());
}

#[tokio::test]
async fn removal_leaves_nothing() {
    let server = Server::start(Options::default()).await.unwrap();
    let db = Database::create(&server).await.unwrap();
    let admin = db.client().await.unwrap();
    let snapshot = "
        SELECT (SELECT array_agg(oid::regprocedure::text ORDER BY 1) FROM pg_proc WHERE pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)),
               (SELECT array_agg(rolname::text ORDER BY 1) FROM pg_roles),
               (SELECT array_agg(nspname::text ORDER BY 1) FROM pg_namespace),
               (SELECT array_agg(tgname::text ORDER BY 1) FROM pg_trigger),
               (SELECT array_agg(relname::text || coalesce(relacl::text, '') ORDER BY 1) FROM pg_class WHERE relkind = 'r' AND relname IN ('t', 'u')),
               (SELECT array_agg(attacl::text ORDER BY 1) FROM pg_attribute WHERE attrelid = 'app.t'::regclass AND attacl IS NOT NULL AND attacl <> '{}'),
               (SELECT nspacl::text FROM pg_namespace WHERE nspname = 'app')";
    admin
        .batch_execute(
            "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, n int); CREATE TABLE app.u (id int PRIMARY KEY);
             CREATE FUNCTION app.is_open(n int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT n > 0';
             CREATE ROLE gateway LOGIN; CREATE ROLE other; GRANT USAGE ON SCHEMA app TO other;
             GRANT SELECT ON app.u TO other; GRANT SELECT (id) ON app.t TO other",
        )
        .await
        .unwrap();

    let shoot = async || {
        let row = admin.query_one(snapshot, &[]).await.unwrap();
        let lists: Vec<Option<Vec<String>>> = (0..6).map(|column| row.get(column)).collect();
        (lists, row.get::<_, Option<String>>(6).unwrap_or_default())
    };
    let before = shoot().await;
    let spec = |name: &str, table: &str| WatchSpec {
        operations: ALL.to_vec(),
        ..WatchSpec::new(name, "app", table)
    };
    let target = Target {
        gateway_role: Some("gateway".into()),
        ..target(vec![
            WatchSpec {
                columns: Some(vec!["n".into()]),
                condition: Some("app.is_open(n)".into()),
                ..spec("t", "t")
            },
            WatchSpec {
                function: Some("app.elsewhere".into()),
                ..spec("u", "u")
            },
        ])
    };
    install(&admin, &target).await.unwrap();
    assert_ne!(shoot().await, before);
    let removal = install::drop(&admin).await.unwrap();
    assert_eq!(removal.warnings, Vec::<String>::new());
    apply(&admin, &removal, &mut |_| {}).await.unwrap();
    let after = shoot().await;
    assert_eq!(after, before);
    assert!(!status(&admin).await.unwrap().is_installed());
    assert!(install::drop(&admin).await.unwrap().is_empty());
}
