//! What is planned, applied, compared and removed for capture from the WAL.

use pregon_capture::change::Op;
use pregon_capture::install::{self, Mode, StepKind, Target, WatchSpec, plan};
use pregon_testkit::postgres;
use pregon_testkit::postgres::{Database, Options, Server};

use crate::kit::{install, target};

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, estado text)";

fn objects(plan: &install::Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.object.as_str()).collect()
}

#[tokio::test]
async fn what_is_applied_is_found_and_what_is_dropped_is_gone() {
    let server = Server::start(Options::default()).await.unwrap();
    let database = Database::create(&server).await.unwrap();
    let admin = database.client().await.unwrap();
    admin.batch_execute(TABLE).await.unwrap();
    let spec = WatchSpec {
        condition: Some("estado = 'x'".into()),
        ..WatchSpec::new("t", "public", "t")
    };
    let target = target(&database, vec![spec]);
    let planned = install(&admin, &target).await.unwrap();
    let last = planned.steps.last().unwrap();
    assert_eq!(
        (last.kind, last.object.as_str()),
        (StepKind::CreateSlot, &*format!("slot {}", target.slot))
    );
    let script = planned.sql();
    assert!(script.find("COMMIT;").unwrap() < script.find("pg_create_logical_replication_slot").unwrap());
    assert!(!script.contains("CREATE OR REPLACE TRIGGER"), "{script}");
    assert!(objects(&planned).contains(&"replica identity of public.t"));
    assert_eq!(objects(&plan(&admin, &target).await.unwrap()), Vec::<&str>::new());
    let status = install::status_of(&admin, &target).await.unwrap();
    assert!(status.is_sound(), "{status:?}");
    assert!(
        status
            .schema
            .iter()
            .any(|object| object.name == format!("slot {}", target.slot))
    );
    // On 17 and later the slot goes over to a standby.
    let failover = "SELECT coalesce((to_jsonb(s)->>'failover')::bool, true) FROM pg_replication_slots s";
    assert!(admin.query_one(failover, &[]).await.unwrap().get::<_, bool>(0));
    let dropped = install::drop(&admin).await.unwrap();
    assert_eq!(dropped.steps[0].kind, StepKind::DropSlot);
    install::apply(&admin, &dropped, &mut |_| {}).await.unwrap();
    let left = "SELECT (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_replication_slots)
         + (SELECT count(*) FROM pg_namespace WHERE nspname = 'pregon') + (SELECT count(*) FROM pg_class WHERE relreplident = 'f')
         + (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'pregon%')";
    assert_eq!(admin.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
}

/// Going over from one way of capturing to the other leaves nothing of the first.
#[tokio::test]
async fn modes_replace_each_other() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let admin = database.client().await.unwrap();
    admin.batch_execute(TABLE).await.unwrap();
    let wal = target(&database, vec![WatchSpec::new("t", "public", "t")]);
    let notify = Target {
        mode: Mode::Notify,
        ..wal.clone()
    };
    let count = async |sql: &str| admin.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
    let triggers = "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal";
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()";
    for (target, expected) in [
        (&notify, (2, 0)),
        (&wal, (0, 1)),
        (&notify, (2, 0)),
        (&wal, (0, 1)),
    ] {
        install(&admin, target).await.unwrap();
        assert_eq!((count(triggers).await, count(slots).await), expected);
        assert!(plan(&admin, target).await.unwrap().is_empty());
    }
    // The publish function follows.
    let body = admin
        .query_one("SELECT prosrc FROM pg_proc WHERE proname = 'publish'", &[])
        .await
        .unwrap();
    assert!(body.get::<_, String>(0).contains("pg_logical_emit_message"));
}

/// A table whose UPDATE and DELETE the publication would break is refused, by the plan and by the script itself.
#[tokio::test]
async fn a_publication_never_breaks_the_applications_updates() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let admin = database.client().await.unwrap();
    admin
        .batch_execute(
            "CREATE TABLE sin_clave (id int); CREATE UNLOGGED TABLE fugaz (id int PRIMARY KEY);
             CREATE TABLE raiz (id int) PARTITION BY RANGE (id); CREATE TABLE hoja PARTITION OF raiz FOR VALUES FROM (0) TO (9);
             CREATE TABLE futura (id int, n int) PARTITION BY RANGE (id); ALTER TABLE futura REPLICA IDENTITY FULL;
             CREATE TABLE presente PARTITION OF futura FOR VALUES FROM (0) TO (9); ALTER TABLE presente REPLICA IDENTITY FULL;
             CREATE TABLE unica (id int NOT NULL UNIQUE); ALTER TABLE unica REPLICA IDENTITY USING INDEX unica_id_key;
             CREATE TABLE nada (id int PRIMARY KEY); ALTER TABLE nada REPLICA IDENTITY NOTHING",
        )
        .await
        .unwrap();
    for (table, words) in [
        ("sin_clave", "no replica identity"),
        ("fugaz", "unlogged"),
        ("raiz", "public.hoja has no replica identity"),
        ("nada", "no replica identity"),
        ("futura", "public.futura is partitioned and has no primary key"),
    ] {
        let target = target(&database, vec![WatchSpec::new(table, "public", table)]);
        let refused = plan(&admin, &target).await.unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
    // A key that goes between the plan and its application.
    admin
        .batch_execute("CREATE TABLE luego (id int PRIMARY KEY)")
        .await
        .unwrap();
    let target = target(
        &database,
        vec![
            WatchSpec::new("luego", "public", "luego"),
            WatchSpec::new("unica", "public", "unica"),
        ],
    );
    let planned = plan(&admin, &target).await.unwrap();
    admin
        .batch_execute("ALTER TABLE luego DROP CONSTRAINT luego_pkey")
        .await
        .unwrap();
    let refused = install::apply(&admin, &planned, &mut |_| {})
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("UPDATE and DELETE would fail on public.luego"),
        "{refused}"
    );
    admin
        .batch_execute("INSERT INTO luego VALUES (1); UPDATE luego SET id = 2; UPDATE unica SET id = 2; UPDATE sin_clave SET id = 1")
        .await
        .unwrap();
}

#[tokio::test]
async fn old_rows_are_asked_for_only_where_they_are_needed() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let admin = database.client().await.unwrap();
    admin.batch_execute(TABLE).await.unwrap();
    let spec = |condition: Option<&str>, operations: &[Op], old| WatchSpec {
        condition: condition.map(str::to_owned),
        operations: operations.to_vec(),
        old,
        ..WatchSpec::new("t", "public", "t")
    };
    let all = [Op::Insert, Op::Update, Op::Delete];
    for (spec, full) in [
        (spec(None, &all, false), false),
        (spec(None, &all, true), true),
        (spec(None, &[Op::Insert], true), false),
        (spec(Some("estado = 'x'"), &all, false), true),
        (spec(Some("estado = 'x'"), &[Op::Insert], false), false),
        (spec(Some("t.id > 5 -- the key"), &all, false), false),
    ] {
        let target = target(&database, vec![spec.clone()]);
        let planned = plan(&admin, &target).await.unwrap();
        let wanted = objects(&planned).contains(&"replica identity of public.t");
        assert_eq!(wanted, full, "{spec:?}");
    }
}

#[tokio::test]
async fn a_lost_slot_is_planned_anew_and_foreign_things_are_left_alone() {
    let server = Server::start(Options {
        settings: vec![
            ("max_slot_wal_keep_size".into(), "16MB".into()),
            ("min_wal_size".into(), "32MB".into()),
            ("max_wal_size".into(), "48MB".into()),
        ],
        ..Options::default()
    })
    .await
    .unwrap();
    let database = Database::create(&server).await.unwrap();
    let admin = database.client().await.unwrap();
    admin.batch_execute(TABLE).await.unwrap();
    let target = target(&database, vec![WatchSpec::new("t", "public", "t")]);
    install(&admin, &target).await.unwrap();
    for _ in 0..6 {
        for sql in [
            "SELECT pg_logical_emit_message(false, 'x', repeat('x', 9000000))",
            "SELECT pg_switch_wal()",
            "CHECKPOINT",
        ] {
            admin.batch_execute(sql).await.unwrap();
        }
    }
    let planned = plan(&admin, &target).await.unwrap();
    let kinds: Vec<StepKind> = planned.steps.iter().map(|step| step.kind).collect();
    assert_eq!(kinds, [StepKind::DropSlot, StepKind::CreateSlot], "{planned:?}");
    install::apply(&admin, &planned, &mut |_| {}).await.unwrap();
    assert!(plan(&admin, &target).await.unwrap().is_empty());
    let foreign = Target {
        slot: "ajena".into(),
        ..target
    };
    admin.batch_execute("CREATE PUBLICATION ajena").await.unwrap();
    admin
        .batch_execute("SELECT pg_create_logical_replication_slot('ajena', 'test_decoding')")
        .await
        .unwrap();
    let refused = plan(&admin, &foreign).await.unwrap_err().to_string();
    assert!(
        refused.contains("publication ajena exists and is not ours") && refused.contains("slot ajena exists"),
        "{refused}"
    );
    install::apply(&admin, &install::drop(&admin).await.unwrap(), &mut |_| {})
        .await
        .unwrap();
    let left = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'ajena'";
    assert_eq!(admin.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 1);
}

#[tokio::test]
async fn a_server_without_logical_wal_and_a_role_without_the_right_are_named() {
    let server = Server::start(Options {
        settings: vec![("wal_level".into(), "replica".into())],
        ..Options::default()
    })
    .await
    .unwrap();
    let database = Database::create(&server).await.unwrap();
    let admin = database.client().await.unwrap();
    admin.batch_execute(TABLE).await.unwrap();
    let role = database.create_role("installer").await.unwrap();
    let gateway = database.create_role("gateway").await.unwrap();
    admin
        .batch_execute(&format!(
            "ALTER TABLE t OWNER TO {role}; GRANT CREATE ON DATABASE {} TO {role}",
            database.name()
        ))
        .await
        .unwrap();
    let target = Target {
        gateway_role: Some(gateway.clone()),
        ..target(&database, vec![WatchSpec::new("t", "public", "t")])
    };
    let client = database.client_as(&role).await.unwrap();
    let refused = plan(&client, &target).await.unwrap_err().to_string();
    assert!(
        refused.contains("wal_level is replica")
            && refused.contains(&format!("ALTER ROLE \"{gateway}\" REPLICATION")),
        "{refused}"
    );
}
