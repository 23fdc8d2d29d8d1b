//! Who may do what: the gateway looks, publishers publish, writers need nothing, and nobody can misuse the functions.

use pregon_capture::install::{Mode, Target, WatchSpec, plan};
use pregon_testkit::postgres::{Database, Options, Server};
use tokio_postgres::error::SqlState;

use crate::kit::{ALL, Fixture, install, listen, watch};

const TABLE: &str = "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, body text, secret text)";

fn app(name: &str) -> WatchSpec {
    WatchSpec {
        operations: ALL.to_vec(),
        ..WatchSpec::new(name, "app", "t")
    }
}

async fn refused(client: &tokio_postgres::Client, sql: &str) {
    let error = client.batch_execute(sql).await.expect_err(sql);
    assert_eq!(
        error.code(),
        Some(&SqlState::INSUFFICIENT_PRIVILEGE),
        "{sql}: {error}"
    );
}

#[tokio::test]
async fn the_gateway_can_fetch_and_nothing_else() {
    let f = Fixture::new(TABLE, vec![]).await;
    let role = f.db.create_role("gateway").await.unwrap();
    let spec = WatchSpec {
        columns: Some(vec!["body".into()]),
        ..app("t")
    };
    let target = Target {
        gateway_role: Some(role.clone()),
        watches: vec![spec],
        ..Target::default()
    };
    install(&f.admin, &target).await.unwrap();
    let gateway = f.db.client_as(&role).await.unwrap();
    for allowed in [
        "LISTEN pregon",
        "SELECT last_value FROM pregon.seq",
        "SELECT id, payload FROM pregon.stored",
        "SELECT value FROM pregon.meta",
        "SELECT id, body FROM app.t WHERE id = 1",
    ] {
        gateway.batch_execute(allowed).await.unwrap();
    }
    for forbidden in [
        "SELECT secret FROM app.t",
        "INSERT INTO app.t VALUES (1)",
        "INSERT INTO pregon.stored (payload) VALUES ('x')",
        "DELETE FROM pregon.stored",
        "UPDATE pregon.meta SET value = 'x'",
        "SELECT nextval('pregon.seq')",
        "SELECT pregon.publish('c', 'e', '1')",
        "SELECT pregon.fit('a', 'b', NULL)",
        "CREATE TABLE pregon.mine (id int)",
    ] {
        refused(&gateway, forbidden).await;
    }
    // It can see by itself that all is well.
    assert!(plan(&gateway, &target).await.unwrap().is_empty());
    assert!(
        pregon_capture::install::status(&gateway)
            .await
            .unwrap()
            .is_sound()
    );
}

/// A big row is read only if it matches, so that the gateway must be able to ask.
#[tokio::test]
async fn the_gateway_may_read_what_the_condition_reads() {
    let schema = format!(
        "{TABLE}; ALTER TABLE app.t ADD \"Abierto\" boolean, ADD estado text; CREATE SCHEMA rules;
         CREATE FUNCTION rules.ok(text) RETURNS boolean LANGUAGE sql AS 'SELECT true'"
    );
    let f = Fixture::new(&schema, vec![]).await;
    let role = f.db.create_role("gateway").await.unwrap();
    let spec = WatchSpec {
        columns: Some(vec!["body".into()]),
        condition: Some("\"Abierto\" AND rules.ok(t.ESTADO)".into()),
        ..app("t")
    };
    let target = Target {
        gateway_role: Some(role.clone()),
        watches: vec![spec],
        ..Target::default()
    };
    install(&f.admin, &target).await.unwrap();
    let gateway = f.db.client_as(&role).await.unwrap();
    let fetch = "SELECT body FROM app.t AS t WHERE id = 1 AND (\"Abierto\" AND rules.ok(t.ESTADO))";
    gateway.batch_execute(fetch).await.unwrap();
    refused(&gateway, "SELECT secret FROM app.t").await;
    assert!(plan(&gateway, &target).await.unwrap().is_empty());
}

#[tokio::test]
async fn writers_need_no_rights_and_members_publish() {
    let f = Fixture::new(TABLE, vec![app("t")]).await;
    let writer = f.db.create_role("writer").await.unwrap();
    let publisher = f.db.create_role("shop").await.unwrap();
    f.admin
        .batch_execute(&format!(
            "GRANT USAGE ON SCHEMA app TO {writer}; GRANT INSERT ON app.t TO {writer}; GRANT pregon_publisher TO {publisher}"
        ))
        .await
        .unwrap();
    let mut payloads = listen(&f.db.url()).await;
    let session = f.db.client_as(&writer).await.unwrap();
    session
        .batch_execute("INSERT INTO app.t VALUES (1, repeat('x', 9000))")
        .await
        .unwrap();
    assert!(payloads.recv().await.unwrap().contains("\"k\":{\"id\" : 1}"));
    for forbidden in [
        "SELECT pregon.publish('c', 'e', '1')",
        "SELECT * FROM pregon.stored",
        "CREATE TEMP TABLE mine (id int); CREATE TRIGGER x AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION pregon.notify_t()",
    ] {
        refused(&session, forbidden).await;
    }
    let session = f.db.client_as(&publisher).await.unwrap();
    session
        .batch_execute("SELECT pregon.publish('c', 'e', to_jsonb(repeat('y', 9000)))")
        .await
        .unwrap();
    assert!(payloads.recv().await.unwrap().contains("\"ref\":"));
    refused(&session, "SELECT * FROM pregon.stored").await;
}

#[tokio::test]
async fn a_malicious_writer_cannot_lend_us_functions() {
    let mut f = Fixture::new(
        "CREATE TABLE t (id int PRIMARY KEY, n int); CREATE TABLE stolen (who text)",
        vec![WatchSpec {
            condition: Some("n > 0".into()),
            ..watch("t", "t", &ALL)
        }],
    )
    .await;
    // Functions and an operator that would be preferred by an unpinned search path.
    let got = f
        .after(
            "CREATE SCHEMA evil;
             CREATE FUNCTION evil.row_to_json(public.t) RETURNS json LANGUAGE plpgsql AS
               'BEGIN INSERT INTO public.stolen VALUES (current_user); RETURN ''{}''; END';
             CREATE FUNCTION evil.pg_notify(text, text) RETURNS void LANGUAGE sql AS 'INSERT INTO public.stolen VALUES (current_user)';
             CREATE FUNCTION evil.gt(int, int) RETURNS bool LANGUAGE sql AS 'INSERT INTO public.stolen VALUES (current_user) RETURNING true';
             CREATE OPERATOR evil.> (LEFTARG = int, RIGHTARG = int, FUNCTION = evil.gt);
             SET search_path = evil, pg_catalog, public;
             INSERT INTO t VALUES (1, 1); UPDATE t SET n = 2; RESET search_path",
        )
        .await;
    assert_eq!(got.len(), 2);
    let stolen: i64 = f
        .admin
        .query_one("SELECT count(*) FROM stolen", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(stolen, 0);
}

#[tokio::test]
async fn an_installer_without_superuser_rights_manages() {
    let server = Server::start(Options::default()).await.unwrap();
    let db = Database::create(&server).await.unwrap();
    let role = db.create_role("installer").await.unwrap();
    let gateway = db.create_role("gateway").await.unwrap();
    db.execute(&format!(
        "GRANT CREATE ON DATABASE {} TO {role}; CREATE SCHEMA app AUTHORIZATION {role}; SET ROLE {role};
         CREATE TABLE app.t (id int PRIMARY KEY, body text)",
        db.name()
    ))
    .await
    .unwrap();
    let client = db.client_as(&role).await.unwrap();
    let target = Target {
        gateway_role: Some(gateway),
        watches: vec![app("t")],
        ..Target::default()
    };
    let planned = install(&client, &target).await.unwrap();
    assert!(
        planned
            .warnings
            .iter()
            .any(|warning| warning.contains("owns the functions itself"))
    );
    assert!(plan(&client, &target).await.unwrap().is_empty());
    let mut payloads = listen(&db.url()).await;
    client
        .batch_execute("INSERT INTO app.t VALUES (1, 'x')")
        .await
        .unwrap();
    assert!(payloads.recv().await.unwrap().contains("\"body\":\"x\""));
    // With CREATEROLE it makes the roles, joins the owner and hands everything over.
    db.execute(&format!("ALTER ROLE {role} CREATEROLE"))
        .await
        .unwrap();
    let planned = install(&client, &target).await.unwrap();
    assert_eq!(planned.warnings, Vec::<String>::new());
    assert!(plan(&client, &target).await.unwrap().is_empty());
    client
        .batch_execute("INSERT INTO app.t VALUES (2, 'y')")
        .await
        .unwrap();
    assert!(payloads.recv().await.unwrap().contains("\"body\":\"y\""));
    let owner = "SELECT pg_get_userbyid(proowner)::text FROM pg_proc WHERE proname = 'notify_t'";
    assert_eq!(
        client.query_one(owner, &[]).await.unwrap().get::<_, String>(0),
        "pregon_owner"
    );
}

/// A plan's steps as `kind object`, of rights alone.
async fn rights(f: &Fixture, target: &Target) -> Vec<String> {
    let plan = plan(&f.admin, target).await.unwrap();
    let rights = plan
        .steps
        .iter()
        .filter(|step| ["grant", "revoke"].contains(&step.kind.as_str()));
    rights
        .map(|step| format!("{} {}", step.kind.as_str(), step.object))
        .collect()
}

fn for_role(role: &str, mode: Mode, watches: Vec<WatchSpec>) -> Target {
    Target {
        gateway_role: Some(role.to_owned()),
        watches,
        mode,
        ..Target::default()
    }
}

#[tokio::test]
async fn another_way_of_capturing_takes_back_what_it_does_not_need() {
    let f = Fixture::new(TABLE, vec![]).await;
    let role = f.db.create_role("gateway").await.unwrap();
    let notify = for_role(&role, Mode::Notify, vec![app("t")]);
    let outbox = for_role(&role, Mode::Outbox, vec![app("t")]);
    install(&f.admin, &notify).await.unwrap();
    let gateway = f.db.client_as(&role).await.unwrap();
    gateway.batch_execute("SELECT * FROM app.t").await.unwrap();

    // The application's own queries may have come to rely on it.
    let queried = Target {
        queries: vec!["SELECT true FROM t WHERE id = 1".into()],
        ..outbox.clone()
    };
    let kept = rights(&f, &queried).await;
    assert!(!kept.iter().any(|step| step.starts_with("revoke")), "{kept:?}");
    let two = Target {
        prune: false,
        ..outbox.clone()
    };
    let kept = rights(&f, &two).await;
    assert!(!kept.iter().any(|step| step.starts_with("revoke")), "{kept:?}");

    let taken = rights(&f, &outbox).await;
    for step in ["revoke table app.t", "revoke schema app"] {
        assert!(taken.iter().any(|one| one == step), "{step} in {taken:?}");
    }
    install(&f.admin, &outbox).await.unwrap();
    refused(&gateway, "SELECT body FROM app.t").await;
    assert!(plan(&f.admin, &outbox).await.unwrap().is_empty());
    let remembered = "SELECT count(*) FROM pregon.meta WHERE key LIKE 'grant:' || $1 || ':%'";
    assert_eq!(
        f.admin
            .query_one(remembered, &[&role])
            .await
            .unwrap()
            .get::<_, i64>(0),
        0
    );

    install(&f.admin, &notify).await.unwrap();
    gateway.batch_execute("SELECT * FROM app.t").await.unwrap();
}

#[tokio::test]
async fn a_schema_in_which_the_role_reads_something_else_stays_usable() {
    let f = Fixture::new(TABLE, vec![]).await;
    let role = f.db.create_role("gateway").await.unwrap();
    install(&f.admin, &for_role(&role, Mode::Notify, vec![app("t")]))
        .await
        .unwrap();
    let grant = format!("CREATE TABLE app.members (id int); GRANT SELECT ON app.members TO {role}");
    f.admin.batch_execute(&grant).await.unwrap();
    let outbox = for_role(&role, Mode::Outbox, vec![app("t")]);
    install(&f.admin, &outbox).await.unwrap();
    let gateway = f.db.client_as(&role).await.unwrap();
    gateway.batch_execute("SELECT * FROM app.members").await.unwrap();
    refused(&gateway, "SELECT body FROM app.t").await;
}

/// To take back a right on a table takes those on its columns too, and the plan has to know it.
#[tokio::test]
async fn other_columns_are_exchanged_in_one_plan() {
    let f = Fixture::new(TABLE, vec![]).await;
    let role = f.db.create_role("gateway").await.unwrap();
    let of = |columns: Option<&str>| {
        let columns = columns.map(|column| vec![column.to_owned()]);
        for_role(&role, Mode::Notify, vec![WatchSpec { columns, ..app("t") }])
    };
    install(&f.admin, &of(None)).await.unwrap();
    let gateway = f.db.client_as(&role).await.unwrap();
    for (column, other) in [("body", "secret"), ("secret", "body")] {
        install(&f.admin, &of(Some(column))).await.unwrap();
        gateway
            .batch_execute(&format!("SELECT id, {column} FROM app.t"))
            .await
            .unwrap();
        refused(&gateway, &format!("SELECT {other} FROM app.t")).await;
        assert!(plan(&f.admin, &of(Some(column))).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_is_read_for_the_wal_needs_no_primary_key() {
    const KEYLESS: &str = "
        CREATE SCHEMA app; CREATE TABLE app.t (code text NOT NULL UNIQUE, body text, secret text);
        ALTER TABLE app.t REPLICA IDENTITY USING INDEX t_code_key;
        CREATE SCHEMA other; CREATE TABLE other.heir (UNIQUE (code)) INHERITS (app.t);
        ALTER TABLE other.heir REPLICA IDENTITY USING INDEX heir_code_key";
    let f = Fixture::new(KEYLESS, vec![]).await;
    let role = f.db.create_role("gateway").await.unwrap();
    let target = Target {
        slot: f.db.name().to_owned(),
        ..for_role(&role, Mode::Wal, vec![app("t")])
    };
    f.admin
        .batch_execute(&format!("ALTER ROLE {role} REPLICATION"))
        .await
        .unwrap();
    install(&f.admin, &target).await.unwrap();
    let gateway = f.db.client_as(&role).await.unwrap();
    gateway
        .batch_execute("SELECT body FROM app.t; SELECT body FROM other.heir; SELECT (NULL::app.t).*")
        .await
        .unwrap();
    assert!(plan(&f.admin, &target).await.unwrap().is_empty());
    let removal = pregon_capture::install::drop(&f.admin).await.unwrap();
    pregon_capture::install::apply(&f.admin, &removal, &mut |_| {})
        .await
        .unwrap();
    refused(&gateway, "SELECT body FROM app.t").await;
}
