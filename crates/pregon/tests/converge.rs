//! Random schemas, triggers, writes and changes of the schema: a client's collection is the table, in every capture.
//!
//! A seed that fails prints its SQL and how to run it again. More seeds: `PREGON_CONVERGENCE_SEEDS=200`; the long run with a
//! report is `make chaos`.

use pregon_chaos::converge::{Capture, Feature, Naive, Options, Plan, Step, prepare, run, run_seeds};
use pregon_testkit::{Server, postgres};
use tokio::sync::OnceCell;

use crate::support::binary;

/// Triggers of the application between two tables, and what makes them fire.
const TRIGGERS: &[Feature] = &[Feature::Triggers, Feature::References, Feature::Old];

async fn server() -> &'static Server {
    static PREPARED: OnceCell<()> = OnceCell::const_new();
    let server = postgres::shared().await;
    PREPARED
        .get_or_init(|| async { prepare(server).await.unwrap() })
        .await;
    server
}

async fn converge(capture: Capture, features: Vec<Feature>, count: u64) {
    let options = Options {
        capture,
        first: 1,
        count,
        features,
        binary: binary(),
        jobs: 2,
        shrink: false,
        progress: false,
    };
    let Some(options) = options.from_environment().unwrap() else {
        return;
    };
    let summary = run_seeds(&options, server().await).await;
    if let Some(failure) = summary.failure() {
        panic!("{failure}");
    }
    assert!(summary.events > 0 && summary.quiet > 0, "{summary:?}");
}

#[tokio::test]
async fn a_collection_is_the_table_by_notify() {
    converge(Capture::Notify, Feature::all(), 8).await;
}

#[tokio::test]
async fn a_collection_is_the_table_by_outbox() {
    converge(Capture::Outbox, Feature::all(), 8).await;
}

#[tokio::test]
async fn a_collection_is_the_table_by_wal() {
    converge(Capture::Wal, Feature::all(), 8).await;
}

/// Whatever triggers an application has: names before and after ours, row and statement, every operation, two tables.
#[tokio::test]
async fn triggers_of_any_name_keep_the_order_of_a_row() {
    for capture in Capture::ALL {
        converge(capture, TRIGGERS.to_vec(), 5).await;
    }
}

/// The test is not blind: clients that make a mistake are found, each on the real gateway.
#[tokio::test]
async fn a_client_that_makes_a_mistake_is_found() {
    let server = server().await;
    let mut plan = Plan::draw(1, Capture::Outbox, server.binaries().major(), &[]);
    let sql = |sql: &str| Step::Sql(sql.to_owned());
    for (naive, steps) in [
        (None, vec![]),
        (
            Some(Naive::IgnoresDeletes),
            vec![sql("DELETE FROM t WHERE id = 2")],
        ),
        (
            Some(Naive::IgnoresUpdates),
            vec![sql("UPDATE t SET n = 7 WHERE id = 1")],
        ),
        (Some(Naive::IgnoresTruncate), vec![sql("TRUNCATE t")]),
    ] {
        plan.steps = vec![sql("INSERT INTO t (id, n) VALUES (1, 1), (2, 2)")];
        plan.steps.extend(steps);
        let outcome = Box::pin(run(&plan, server, &binary(), naive)).await.unwrap();
        assert_eq!(outcome.fault.is_some(), naive.is_some(), "{naive:?}: {outcome:?}");
    }
}

/// A write that fails in the watched schema alone is found: here by a trigger that the control does not have.
#[tokio::test]
async fn a_write_that_only_the_watched_schema_refuses_is_found() {
    let server = server().await;
    let mut plan = Plan::draw(1, Capture::Outbox, server.binaries().major(), &[]);
    plan.steps = vec![
        Step::Sql(
            "DO $$ BEGIN IF current_schema = 'app' THEN ALTER TABLE t ADD CHECK (n < 5); END IF; END $$"
                .to_owned(),
        ),
        Step::Sql("INSERT INTO t (id, n) VALUES (1, 9)".to_owned()),
    ];
    let fault = Box::pin(run(&plan, server, &binary(), None))
        .await
        .unwrap()
        .fault
        .unwrap();
    assert!(fault.contains("the watched schema answered 23514"), "{fault}");
}
