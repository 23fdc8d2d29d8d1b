//! What the router makes in a database, with what rights, and what it does with tables that are there already.

use pregon_testkit::{Database, Node, NodeOptions, postgres};
use serde_json::{Value, json};

use super::{ask, becomes, deliver, finished, options, start, text, with_secrets};
use crate::support::{binary, example, psql};

fn command(database: &Database<'_>, words: &[&str]) -> (i32, String, String) {
    let file = crate::support::example("whatsapp-router/pregon.toml");
    let mut command = std::process::Command::new(binary());
    command
        .args(["router", "db"])
        .args(words)
        .arg("--config")
        .arg(file)
        .env("DATABASE_URL", database.url());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[tokio::test]
async fn the_plan_is_shown_applied_once_and_taken_back() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let (code, sql, errors) = command(&database, &["plan"]);
    assert_eq!(code, 1, "{errors}");
    for index in [
        "idx_conversaciones_telefono",
        "idx_conversaciones_contacto_id",
        "idx_conversaciones_ts_ultimo_mensaje",
        "idx_mensajes_conversacion_id",
        "idx_mensajes_timestamp",
        "idx_mensajes_remitente_tipo",
        "idx_contactos_telefono",
    ] {
        assert!(
            sql.contains(&format!("CREATE INDEX IF NOT EXISTS \"{index}\"")),
            "{index}"
        );
    }
    database.execute(&sql).await.unwrap();
    let (code, sql, errors) = command(&database, &["plan"]);
    assert_eq!(code, 0, "{sql}{errors}");
    let router = Node::spawn(options(&database.url())).await.unwrap();
    deliver(&router, &text("1", "wamid.1", "hola")).await;
    finished(&database).await;
    drop(router);
    assert_eq!(command(&database, &["drop", "--yes"]).0, 0);
    assert_eq!(
        ask(&database, "SELECT to_regnamespace('pregon_router') IS NULL").await,
        "true"
    );
    assert_eq!(ask(&database, "SELECT count(*) FROM mensajes").await, "1");
    assert_eq!(command(&database, &["apply"]).0, 0);
    let (_, json, _) = command(&database, &["plan", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["steps"], json!([]));
}

#[tokio::test]
async fn a_role_of_its_own_with_few_rights_is_enough() {
    let server = postgres::shared().await;
    let database = Database::create(server).await.unwrap();
    let role = database.create_role("router").await.unwrap();
    let options = options(&database.url_as(&role)).env("PREGON_ADMIN_URL", database.url());
    let router = Node::spawn(options).await.unwrap();
    deliver(&router, &text("1", "wamid.1", "hola")).await;
    becomes(&database, "SELECT count(*) FROM mensajes", "1").await;
    finished(&database).await;
    let client = database.client_as(&role).await.unwrap();
    for refused in [
        "DELETE FROM mensajes",
        "TRUNCATE contactos",
        "CREATE TABLE pregon_router.x (a int)",
        "ALTER TABLE mensajes ADD x int",
        "DELETE FROM pregon.stored",
        "SELECT pg_read_file('x')",
    ] {
        let error = client.batch_execute(refused).await.unwrap_err();
        assert_eq!(
            error.code().map(|code| code.code()),
            Some("42501"),
            "{refused}: {error:?}"
        );
    }
    let stranger = database.create_role("stranger").await.unwrap();
    let client = database.client_as(&stranger).await.unwrap();
    let error = client
        .batch_execute("SELECT pregon_router.drain('{1}', 1, 1)")
        .await
        .unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("42501"));
}

#[tokio::test]
async fn tables_that_are_there_are_taken_over_with_their_rows() {
    let server = postgres::shared().await;
    let database = Database::create(server).await.unwrap();
    database
        .execute(
            "CREATE SCHEMA crm; CREATE TYPE crm.quien AS ENUM ('user', 'agent', 'bot', 'system');
             CREATE TABLE crm.contactos (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), telefono varchar(30), nombre text);
             CREATE TABLE crm.conversaciones (id serial PRIMARY KEY, contacto_id uuid REFERENCES crm.contactos, telefono text,
               ts_ultimo_mensaje timestamp);
             CREATE TABLE crm.\"Mensajes\" (id bigserial PRIMARY KEY, conversacion_id int, mensaje text, remitente_tipo crm.quien);
             INSERT INTO crm.contactos (id, telefono, nombre) VALUES ('00000000-0000-0000-0000-000000000001', '+5491', 'Vieja'),
               ('00000000-0000-0000-0000-000000000002', '+5491', 'Copia');
             INSERT INTO crm.conversaciones (contacto_id, telefono) VALUES ('00000000-0000-0000-0000-000000000001', '+5491');",
        )
        .await
        .unwrap();
    let role = database.create_role("crm").await.unwrap();
    let config = "[postgres]\napply = \"auto\"\n[router]\ncontacts = \"crm.contactos\"\nconversations = \"crm.conversaciones\"\n\
                  messages = 'crm.\"Mensajes\"'\npooler = true\narea = \"it's\"";
    let options = with_secrets(NodeOptions::text(config), &database.url_as(&role))
        .env("PREGON_ADMIN_URL", database.url());
    let router = Node::spawn(options).await.unwrap();
    deliver(&router, &text("5491", "wamid.1", "hola")).await;
    deliver(&router, &text("5492", "wamid.2", "otra")).await;
    becomes(&database, "SELECT count(*) FROM crm.\"Mensajes\"", "2").await;
    assert_eq!(ask(&database, "SELECT count(*) FROM crm.contactos").await, "3");
    assert_eq!(
        ask(
            &database,
            "SELECT nombre || telefono FROM crm.contactos ORDER BY id LIMIT 1"
        )
        .await,
        "Vieja+5491"
    );
    let taken = "SELECT c.id || c.numero || c.area || m.remitente_tipo FROM crm.conversaciones c JOIN crm.\"Mensajes\" m ON m.conversacion_id = c.id
        WHERE m.wamid = 'wamid.1'";
    assert_eq!(ask(&database, taken).await, "1109it'suser");
}

#[tokio::test]
async fn messages_that_are_there_twice_are_said() {
    let server = postgres::shared().await;
    let database = Database::create(server).await.unwrap();
    database
        .execute(
            "CREATE TABLE mensajes (id int, conversacion_id int, numero text, wamid text); INSERT INTO mensajes VALUES (1, 1, '1', 'a'), (2, 1, '1', 'a');
             CREATE TABLE contactos (telefono text)",
        )
        .await
        .unwrap();
    let (code, _, errors) = command(&database, &["apply"]);
    assert_eq!(code, 1);
    assert!(
        errors.contains("same numero and wamid") && errors.contains("contactos has no column id"),
        "{errors}"
    );
    assert_eq!(
        ask(&database, "SELECT to_regnamespace('pregon_router') IS NULL").await,
        "true"
    );
}

#[tokio::test]
async fn without_permission_nothing_is_installed_and_the_remedy_is_said() {
    let server = postgres::shared().await;
    let (database, router) = start(server).await;
    drop(router);
    let config = "[postgres]\n[router]\narea = \"otra\"";
    let failed = Node::spawn(with_secrets(NodeOptions::text(config), &database.url()))
        .await
        .unwrap_err();
    assert!(
        format!("{failed:#}").contains("pregon router db apply"),
        "{failed:#}"
    );
}

#[tokio::test]
async fn a_gateway_that_captures_otherwise_keeps_its_own_publish() {
    let server = postgres::shared().await;
    let database = Database::create(server).await.unwrap();
    database
        .execute("CREATE TABLE otra (id int PRIMARY KEY)")
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pregon.toml");
    std::fs::write(
        &file,
        "[postgres]\ncapture = \"outbox\"\n[[watch]]\ntable = \"otra\"\n",
    )
    .unwrap();
    let apply = |words: &[&str]| {
        let mut command = std::process::Command::new(binary());
        command
            .args(words)
            .arg("--config")
            .arg(&file)
            .env("DATABASE_URL", database.url());
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    apply(&["db", "apply"]);
    let publish =
        "SELECT md5(prosrc) FROM pg_proc WHERE oid = 'pregon.publish(text, text, jsonb)'::regprocedure";
    let before = ask(&database, publish).await;
    let role = database.create_role("router").await.unwrap();
    let options = options(&database.url_as(&role)).env("PREGON_ADMIN_URL", database.url());
    let router = Node::spawn(options).await.unwrap();
    deliver(&router, &text("1", "wamid.1", "hola")).await;
    becomes(&database, "SELECT count(*) FROM mensajes", "1").await;
    assert_eq!(ask(&database, publish).await, before);
    becomes(&database, "SELECT count(*) FROM pregon.outbox", "2").await;
    // The gateway finds everything as it left it.
    apply(&["db", "plan"]);
}

/// A delivery that was answered survives a crash of the server, also where commits do not wait for the disk by default; other hostile
/// defaults change nothing either.
#[tokio::test]
async fn hostile_defaults_of_the_database_change_nothing_for_the_router() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    psql(
        postgres::shared().await,
        &database.url(),
        &example("whatsapp-router/schema.sql"),
    );
    let admin = database.client().await.unwrap();
    crate::defaults::spoil(&database, &admin).await;
    let router = Node::spawn(options(&database.url())).await.unwrap();
    admin
        .batch_execute(
            "CREATE TABLE visto (modo text);
             CREATE FUNCTION ver() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN
               INSERT INTO public.visto VALUES (current_setting('synchronous_commit')); RETURN NULL; END $f$;
             CREATE TRIGGER ver AFTER INSERT ON pregon_router.inbox FOR EACH ROW EXECUTE FUNCTION ver();
             CREATE TRIGGER ver AFTER INSERT ON mensajes FOR EACH ROW EXECUTE FUNCTION ver()",
        )
        .await
        .unwrap();
    deliver(&router, &text("1", "wamid.1", "hola")).await;
    finished(&database).await;
    assert_eq!(ask(&database, "SELECT count(*) FROM public.mensajes").await, "1");
    assert_eq!(
        ask(&database, "SELECT string_agg(modo, ',') FROM public.visto").await,
        "on,on"
    );
}
