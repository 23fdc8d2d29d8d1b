//! The doctor: calm on a sound database, precise on an unsound one, and usable by the least-privileged role.

use std::time::Duration;

use pregon_capture::connect::Settings;
use pregon_capture::doctor::{self, Check, CheckStatus, DoctorInput};
use pregon_capture::install::{Target, WatchSpec};
use pregon_testkit::postgres::{Database, Options, Server};

use crate::kit::{ALL, Fixture, install, watch};

fn find<'a>(checks: &'a [Check], id: &str) -> &'a Check {
    checks
        .iter()
        .find(|check| check.id == id)
        .unwrap_or_else(|| panic!("no check {id}"))
}

fn input(target: Target, url: &str) -> DoctorInput {
    DoctorInput {
        target,
        settings: Some(Settings::parse(url).unwrap()),
        sample: Duration::from_millis(1),
        ..DoctorInput::default()
    }
}

const ORDER: [&str; 24] = [
    "C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9", "W1", "W2", "W3", "W4", "W5", "W6", "P1", "P2",
    "P3", "N1", "N2", "N3", "N4", "N5", "N6",
];

#[tokio::test]
async fn a_sound_database_has_no_failures_for_the_gateway_role() {
    let f = Fixture::new("CREATE TABLE t (id int PRIMARY KEY)", vec![]).await;
    let role = f.db.create_role("gateway").await.unwrap();
    let target = Target {
        gateway_role: Some(role.clone()),
        watches: vec![watch("t", "t", &ALL)],
        ..Target::default()
    };
    install(&f.admin, &target).await.unwrap();
    f.admin
        .batch_execute(&format!(
            "REVOKE CONNECT ON DATABASE {0} FROM PUBLIC; GRANT CONNECT ON DATABASE {0} TO {role}",
            f.db.name()
        ))
        .await
        .unwrap();
    let gateway = f.db.client_as(&role).await.unwrap();
    let examined = DoctorInput {
        listen: vec!["ventas".into()],
        ..input(target, &f.db.url_as(&role))
    };
    let checks = doctor::run(&gateway, &examined).await;
    let ids: Vec<&str> = checks.iter().map(|check| check.id).collect();
    assert_eq!(ids, ORDER);
    // The server is shared with other tests, so what they do may show in the warnings of C5 to C7 and N2.
    for id in [
        "C1", "C2", "C3", "C4", "C9", "W1", "W2", "W3", "W4", "W5", "W6", "P1", "P2", "N1", "N4", "N5", "N6",
    ] {
        let check = find(&checks, id);
        let old_minor = id == "C1" && check.status == CheckStatus::Warn;
        assert!(check.status == CheckStatus::Ok || old_minor, "{check:?}");
    }
    assert!(
        checks.iter().all(|check| check.status != CheckStatus::Fail),
        "{checks:#?}"
    );
}

#[tokio::test]
async fn what_is_wrong_is_named_with_a_remedy() {
    let f = Fixture::new(
        "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE p (a text); ALTER TABLE p ENABLE ROW LEVEL SECURITY",
        vec![],
    )
    .await;
    let role = f.db.create_role("gateway").await.unwrap();
    let watches = vec![watch("t", "t", &ALL), watch("p", "p", &ALL)];
    let target = Target {
        gateway_role: Some(role.clone()),
        watches,
        ..Target::default()
    };
    install(&f.admin, &target).await.unwrap();
    f.admin
        .batch_execute(&format!(
            "ALTER TABLE t DISABLE TRIGGER \"!pregon_t\"; GRANT EXECUTE ON FUNCTION pregon.notify_p() TO PUBLIC;
             GRANT CREATE ON SCHEMA pregon TO PUBLIC; REVOKE SELECT ON t FROM {role};
             REVOKE EXECUTE ON FUNCTION pregon.publish(text, text, jsonb) FROM pregon_publisher;
             ALTER DATABASE {} SET session_replication_role = replica",
            f.db.name()
        ))
        .await
        .unwrap();
    let mut examined = input(target.clone(), &f.db.url());
    examined.listen = vec!["x".repeat(64)];
    let checks = doctor::run(&f.admin, &examined).await;
    let expect = |id: &str, status: CheckStatus, words: &str| {
        let check = find(&checks, id);
        assert!(
            check.status == status && check.detail.contains(words) && !check.remedy.is_empty(),
            "{check:?}"
        );
    };
    expect("C3", CheckStatus::Warn, "SUPERUSER");
    expect("W2", CheckStatus::Warn, "row security");
    expect("W2", CheckStatus::Warn, "no primary key");
    expect(
        "W3",
        CheckStatus::Fail,
        "trigger !pregon_t on public.t (it is disabled)",
    );
    expect(
        "W4",
        CheckStatus::Fail,
        "pregon.notify_p may be executed by everybody",
    );
    expect("W5", CheckStatus::Fail, "CREATE");
    expect("W6", CheckStatus::Warn, "session_replication_role");
    expect("P1", CheckStatus::Fail, "GRANT SELECT ON \"public\".\"t\"");
    expect("P2", CheckStatus::Fail, "pregon_publisher");
    expect("N5", CheckStatus::Fail, "63 bytes");
    // All of it can be repaired by applying again.
    install(&f.admin, &target).await.unwrap();
    let checks = doctor::run(&f.admin, &examined).await;
    for id in ["W3", "W4", "W5", "P1", "P2"] {
        assert_eq!(
            find(&checks, id).status,
            CheckStatus::Ok,
            "{:?}",
            find(&checks, id)
        );
    }
}

#[tokio::test]
async fn queries_that_the_gateway_may_not_run_are_named() {
    let tables =
        "CREATE SCHEMA app; CREATE TABLE app.members (room int, who text); CREATE TABLE open (id int);
        CREATE FUNCTION secret(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1; END';
        REVOKE EXECUTE ON FUNCTION secret(int) FROM PUBLIC";
    let f = Fixture::new(tables, vec![]).await;
    let role = f.db.create_role("gateway").await.unwrap();
    let gateway = f.db.client_as(&role).await.unwrap();
    let mut examined = input(Target::default(), &f.db.url_as(&role));
    let statement = |key: &str, sql: &str| (key.to_owned(), sql.to_owned());
    examined.statements = vec![
        statement(
            "a",
            "SELECT true FROM app.members WHERE room = $1 AND who = $2 -- only members",
        ),
        statement("b", "SELECT id FROM open WHERE id = $1"),
        statement("c", "SELECT nothing FROM nowhere"),
        statement("d", "SELECT secret($1)"),
    ];
    let grant = async |right: &str| {
        let sql = format!("GRANT {right} TO {role}");
        f.admin.batch_execute(&sql).await.unwrap();
    };
    let check = async || {
        let checks = doctor::run(&gateway, &examined).await;
        find(&checks, "P3").clone()
    };
    grant("SELECT ON open").await;
    let found = check().await;
    assert_eq!(found.status, CheckStatus::Fail);
    for words in [
        "a: permission denied for schema app",
        "c: relation",
        "d: permission denied for function",
    ] {
        assert!(found.detail.contains(words), "{words} in {found:?}");
    }
    assert!(!found.detail.contains("b:"), "{found:?}");
    assert!(
        found
            .remedy
            .contains(&format!("GRANT USAGE ON SCHEMA app TO \"{role}\"")),
        "{found:?}"
    );
    grant("USAGE ON SCHEMA app").await;
    let found = check().await;
    assert!(
        found
            .remedy
            .contains(&format!("GRANT SELECT ON members TO \"{role}\"")),
        "{found:?}"
    );
    grant("SELECT ON app.members").await;
    grant("EXECUTE ON FUNCTION secret(int)").await;
    f.admin
        .batch_execute("CREATE TABLE nowhere (nothing int); GRANT SELECT ON nowhere TO PUBLIC")
        .await
        .unwrap();
    assert_eq!(check().await.status, CheckStatus::Ok);
}

/// NOTIFY and LISTEN ask for no privilege, so that whoever may connect can forge and read.
#[tokio::test]
async fn a_database_that_everybody_may_enter_is_named() {
    let f = Fixture::new("SELECT 1", vec![]).await;
    let mut examined = input(Target::default(), &f.db.url());
    for listen in [vec![], vec!["ventas".to_owned()]] {
        examined.listen = listen;
        let checks = doctor::run(&f.admin, &examined).await;
        let check = find(&checks, "N5");
        let names = std::iter::once("pregon").chain(examined.listen.iter().map(String::as_str));
        assert!(
            names.into_iter().all(|name| check.detail.contains(name)),
            "{check:?}"
        );
        assert_eq!(check.status, CheckStatus::Warn);
        assert!(check.remedy.contains("FROM PUBLIC"), "{check:?}");
    }
}

#[tokio::test]
async fn a_missing_table_fails_the_first_check_of_the_watches() {
    let f = Fixture::new("SELECT 1", vec![]).await;
    let spec = WatchSpec {
        columns: Some(vec!["a".into()]),
        ..watch("t", "nowhere", &ALL)
    };
    let target = Target {
        watches: vec![spec],
        ..Target::default()
    };
    let checks = doctor::run(&f.admin, &input(target, &f.db.url())).await;
    assert_eq!(find(&checks, "W1").status, CheckStatus::Fail);
    assert_eq!(find(&checks, "W3").status, CheckStatus::Skip);
}

#[tokio::test]
async fn settings_that_break_listening_are_found() {
    let settings = vec![("idle_session_timeout".to_owned(), "10s".to_owned())];
    let options = Options {
        max_prepared_transactions: 2,
        settings,
        ..Options::default()
    };
    let server = Server::start(options).await.unwrap();
    let db = Database::create(&server).await.unwrap();
    let admin = db.client().await.unwrap();
    admin
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY)")
        .await
        .unwrap();
    let target = Target {
        watches: vec![watch("t", "t", &ALL)],
        ..Target::default()
    };
    let checks = doctor::run(&admin, &input(target, &db.url())).await;
    let check = find(&checks, "C4");
    assert_eq!(check.status, CheckStatus::Fail);
    assert!(
        check.detail.contains("idle_session_timeout is 10000 ms")
            && check.detail.contains("PREPARE TRANSACTION")
    );
}
