//! What becomes of messages, statuses and contacts.

use pregon_testkit::postgres;
use serde_json::{Value, json};

use super::{ask, becomes, deliver, delivery, finished, start, text};

#[tokio::test]
async fn twenty_first_messages_at_once_make_one_contact_and_one_conversation() {
    let (database, router) = start(postgres::shared().await).await;
    let deliveries: Vec<Value> = (0..20)
        .map(|n| text("5491100000000", &format!("wamid.{n}"), "hola"))
        .collect();
    let posts = deliveries.iter().map(|delivery| deliver(&router, delivery));
    futures_util::future::join_all(posts).await;
    becomes(&database, "SELECT count(*) FROM mensajes", "20").await;
    assert_eq!(ask(&database, "SELECT count(*) FROM contactos").await, "1");
    assert_eq!(ask(&database, "SELECT count(*) FROM conversaciones").await, "1");
}

#[tokio::test]
async fn a_message_that_comes_again_is_stored_and_told_once() {
    let (database, router) = start(postgres::shared().await).await;
    let twice = text("1", "wamid.1", "hola");
    for _ in 0..3 {
        deliver(&router, &twice).await;
    }
    // The same id on another business number is another message.
    let other = twice.to_string().replace("\"109\"", "\"110\"");
    deliver(&router, &serde_json::from_str(&other).unwrap()).await;
    finished(&database).await;
    assert_eq!(
        ask(
            &database,
            "SELECT string_agg(numero, ',' ORDER BY numero) FROM mensajes"
        )
        .await,
        "109,110"
    );
    assert_eq!(ask(&database, "SELECT count(*) FROM contactos").await, "1");
    assert_eq!(ask(&database, "SELECT count(*) FROM conversaciones").await, "2");
}

#[tokio::test]
async fn all_of_a_batch_is_stored_in_order_with_type_text_and_raw() {
    let (database, router) = start(postgres::shared().await).await;
    let types = json!([
        {"type": "text", "text": {"body": "uno"}}, {"type": "image", "image": {"id": "9", "caption": "dos"}},
        {"type": "interactive", "interactive": {"type": "list_reply", "list_reply": {"id": "x", "title": "tres"}}},
        {"type": "location", "location": {"latitude": -34.6, "longitude": -58.4}}, {"type": "hologram", "hologram": {}},
        {"type": "reaction", "reaction": {"message_id": "wamid.0", "emoji": "❤"}}, {"type": "unsupported", "errors": [{"code": 131051}]}]);
    let messages: Vec<Value> = types
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .map(|(n, message)| {
            let mut message = message.clone();
            message["from"] = json!(if n % 2 == 0 { "111" } else { "222" });
            message["id"] = json!(format!("wamid.{n}"));
            message["timestamp"] = json!("1780000000");
            message
        })
        .collect();
    deliver(&router, &delivery(json!({"messages": messages}))).await;
    becomes(&database, "SELECT count(*) FROM mensajes", "7").await;
    let order =
        "SELECT string_agg(m.wamid || ' ' || m.tipo || ' ' || coalesce(m.mensaje, '-'), ';' ORDER BY m.id)
        FROM mensajes m JOIN conversaciones c ON c.id = m.conversacion_id WHERE c.telefono = ";
    assert_eq!(
        ask(&database, &format!("{order}'111'")).await,
        "wamid.0 text uno;wamid.2 interactive tres;wamid.4 hologram -;wamid.6 unsupported -"
    );
    assert_eq!(
        ask(&database, &format!("{order}'222'")).await,
        "wamid.1 image dos;wamid.3 location -;wamid.5 reaction -"
    );
    let raw = ask(&database, "SELECT jsonb_agg(raw ORDER BY wamid) FROM mensajes").await;
    assert_eq!(serde_json::from_str::<Value>(&raw).unwrap(), json!(messages));
    assert_eq!(
        ask(
            &database,
            "SELECT extract(epoch FROM ts_ultimo_mensaje)::bigint FROM conversaciones LIMIT 1"
        )
        .await,
        "1780000000"
    );
}

#[tokio::test]
async fn statuses_only_go_forward_and_failures_stand_apart() {
    let (database, router) = start(postgres::shared().await).await;
    let status = |wamid: &str, word: &str| {
        delivery(
            json!({"statuses": [{"id": wamid, "status": word, "timestamp": "1780000001", "recipient_id": "111",
            "errors": if word == "failed" { json!([{"code": 131026}]) } else { json!(null) }}]}),
        )
    };
    let echo = json!({"entry": [{"id": "W", "changes": [{"field": "smb_message_echoes", "value": {
        "metadata": {"phone_number_id": "109"}, "message_echoes": [
            {"from": "15550001111", "to": "111", "id": "wamid.1", "type": "text", "text": {"body": "ya voy"}},
            {"from": "15550001111", "to": "111", "id": "wamid.2", "type": "text", "text": {"body": "no llega"}}]}}]}]});
    deliver(&router, &status("wamid.1", "read")).await; // Before its message.
    deliver(&router, &echo).await;
    for word in ["delivered", "sent"] {
        deliver(&router, &status("wamid.1", word)).await;
    }
    let state =
        |wamid: &str| format!("SELECT estado || ' ' || remitente_tipo FROM mensajes WHERE wamid = '{wamid}'");
    for (word, wanted) in [
        ("sent", "sent agent"),
        ("failed", "failed agent"),
        ("sent", "failed agent"),
        ("delivered", "delivered agent"),
    ] {
        deliver(&router, &status("wamid.2", word)).await;
        finished(&database).await;
        assert_eq!(ask(&database, &state("wamid.2")).await, wanted, "{word}");
    }
    assert_eq!(ask(&database, &state("wamid.1")).await, "read agent");
}

#[tokio::test]
async fn a_contact_keeps_its_conversation_under_all_its_names() {
    let (database, router) = start(postgres::shared().await).await;
    let message = |wamid: &str, names: Value| {
        let mut message = json!({"id": wamid, "type": "text", "text": {"body": wamid}});
        message
            .as_object_mut()
            .unwrap()
            .extend(names.as_object().unwrap().clone());
        delivery(json!({"messages": [message]}))
    };
    // By number, then with a user id, then by the user id alone; then with another number, told and used.
    for (wamid, names) in [
        ("a", json!({"from": "111"})),
        ("b", json!({"from": "111", "from_user_id": "AR.1"})),
        ("c", json!({"from_user_id": "AR.1"})),
        (
            "d",
            json!({"from": "111", "type": "system", "system": {"type": "user_changed_number", "wa_id": "222", "body": "cambió"}}),
        ),
        ("e", json!({"from": "222", "from_user_id": "AR.2"})),
    ] {
        deliver(&router, &message(wamid, names)).await;
        finished(&database).await;
    }
    assert_eq!(
        ask(
            &database,
            "SELECT string_agg(telefono || ' ' || user_id, ',') FROM contactos"
        )
        .await,
        "222 AR.2"
    );
    assert_eq!(
        ask(
            &database,
            "SELECT string_agg(wamid, '' ORDER BY id) FROM mensajes GROUP BY conversacion_id"
        )
        .await,
        "abcde"
    );
    // Somebody who hides the number has none.
    deliver(&router, &message("f", json!({"from_user_id": "AR.9"}))).await;
    becomes(
        &database,
        "SELECT count(*) FROM contactos WHERE telefono IS NULL AND user_id = 'AR.9'",
        "1",
    )
    .await;
    // The number has another owner now: another contact.
    deliver(
        &router,
        &message("g", json!({"from": "222", "from_user_id": "AR.7"})),
    )
    .await;
    becomes(&database, "SELECT count(*) FROM contactos", "3").await;
}

#[tokio::test]
async fn a_person_known_by_number_and_by_id_becomes_one_contact() {
    let (database, router) = start(postgres::shared().await).await;
    let message = |wamid: &str, names: Value| {
        let mut message = json!({"id": wamid, "type": "text", "text": {"body": wamid}});
        message
            .as_object_mut()
            .unwrap()
            .extend(names.as_object().unwrap().clone());
        delivery(json!({"messages": [message]}))
    };
    deliver(&router, &message("a", json!({"from": "111"}))).await;
    deliver(&router, &message("b", json!({"from_user_id": "AR.1"}))).await;
    becomes(&database, "SELECT count(*) FROM mensajes", "2").await;
    assert_eq!(ask(&database, "SELECT count(*) FROM contactos").await, "2");
    deliver(
        &router,
        &message("c", json!({"from": "111", "from_user_id": "AR.1"})),
    )
    .await;
    becomes(&database, "SELECT count(*) FROM mensajes", "3").await;
    let contacts = "SELECT string_agg(telefono || ' ' || user_id, ',') FROM contactos";
    assert_eq!(ask(&database, contacts).await, "111 AR.1");
    let owners = "SELECT count(DISTINCT contacto_id) FROM conversaciones";
    assert_eq!(ask(&database, owners).await, "1");
    // Under either name it is the same person from now on.
    deliver(&router, &message("d", json!({"from": "111"}))).await;
    deliver(&router, &message("e", json!({"from_user_id": "AR.1"}))).await;
    becomes(&database, "SELECT count(*) FROM mensajes", "5").await;
    assert_eq!(ask(&database, contacts).await, "111 AR.1");
}

#[tokio::test]
async fn deliveries_are_kept_for_a_while_and_those_of_dead_letters_longer() {
    let (database, mut router) = start(postgres::shared().await).await;
    deliver(&router, &text("1", "wamid.1", "hola")).await;
    deliver(
        &router,
        &json!({"entry": [{"changes": [{"field": "account_update", "value": {"event": "BAN"}}]}]}),
    )
    .await;
    assert_eq!(super::post(&router, b"no json").await.unwrap().status(), 200);
    finished(&database).await;
    router.sigterm().await.unwrap();
    database
        .execute(
            "UPDATE pregon_router.inbox SET received = received - interval '8 days';
             UPDATE pregon_router.event SET received = received - interval '8 days'",
        )
        .await
        .unwrap();
    router.restart().await.unwrap();
    becomes(&database, "SELECT count(*) FROM pregon_router.inbox", "1").await;
    becomes(&database, "SELECT count(*) FROM pregon_router.event", "0").await;
    assert_eq!(ask(&database, "SELECT count(*) FROM mensajes").await, "1");
    let rest =
        "SELECT error FROM pregon_router.dead_letter d JOIN pregon_router.inbox i ON i.id = d.delivery";
    assert!(ask(&database, rest).await.contains("cannot be read"));
}
