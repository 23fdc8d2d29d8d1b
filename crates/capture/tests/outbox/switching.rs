//! From NOTIFY to the outbox and back, by plan and apply.

use pregon_capture::install::{self, Mode, Target, WatchSpec, plan, status_of};
use tokio_postgres::Client;

use crate::kit::{ALL, Session, database, install as apply, options, target, watch_of};

async fn names(client: &Client, sql: &str) -> Vec<String> {
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Triggers on `t`, and what stands in our schema.
async fn installed(client: &Client) -> (Vec<String>, Vec<String>) {
    let triggers =
        "SELECT tgname::text FROM pg_trigger WHERE tgrelid = 't'::regclass AND NOT tgisinternal ORDER BY 1";
    let objects =
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'pregon'::regnamespace AND relkind = 'r'
        UNION ALL SELECT proname::text FROM pg_proc WHERE pronamespace = 'pregon'::regnamespace ORDER BY 1";
    (names(client, triggers).await, names(client, objects).await)
}

#[tokio::test]
async fn a_switch_leaves_nothing_of_the_other_way_behind() {
    let (database, admin) = database("CREATE TABLE t (id int PRIMARY KEY)", vec![]).await;
    let full = WatchSpec {
        old: true,
        condition: Some("id > 0".into()),
        ..watch_of("t", "t", &ALL)
    };
    let outbox = target(vec![full]);
    let notify = Target {
        mode: Mode::Notify,
        ..outbox.clone()
    };
    apply(&admin, &notify).await;
    let by_notify = installed(&admin).await;
    assert_eq!(by_notify.1, ["fit", "meta", "notify_t", "publish", "stored"]);
    for _ in 0..2 {
        apply(&admin, &outbox).await;
        let (triggers, objects) = installed(&admin).await;
        assert_eq!(triggers, by_notify.0);
        let expected = [
            "bell", "cursor", "flaw", "mend", "meta", "notify_t", "outbox", "publish", "ring", "stored",
            "trim",
        ];
        assert_eq!(objects, expected);
        assert!(plan(&admin, &outbox).await.unwrap().is_empty());
        assert!(status_of(&admin, &outbox).await.unwrap().is_sound());
        let mut session = Session::start(options(&database.url(), &["t"]), None).await;
        admin
            .batch_execute("DELETE FROM t; INSERT INTO t VALUES (1)")
            .await
            .unwrap();
        while session.change().await.0 != "insert" {}
        session.stop().await;
        apply(&admin, &notify).await;
        assert_eq!(installed(&admin).await, by_notify);
        assert!(plan(&admin, &notify).await.unwrap().is_empty());
        admin.batch_execute("UPDATE t SET id = 1").await.unwrap();
    }
    apply(&admin, &outbox).await;
    let removal = install::drop(&admin).await.unwrap();
    install::apply(&admin, &removal, &mut |_| {}).await.unwrap();
    let left = names(
        &admin,
        "SELECT nspname::text FROM pg_namespace WHERE nspname = 'pregon'",
    )
    .await;
    assert!(left.is_empty());
    let triggers = "SELECT tgname::text FROM pg_trigger WHERE tgrelid = 't'::regclass";
    assert!(names(&admin, triggers).await.is_empty());
}
