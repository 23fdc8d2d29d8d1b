//! The router's log tells no value of a message that the database refuses; and it has a line for every message, however many come.

use pregon_testkit::{PLANTED, postgres};

use super::{ask, deliver, finished, post, start, text};
use crate::support::SOON;

#[tokio::test]
async fn an_item_that_fails_is_told_by_its_code() {
    let (database, router) = start(postgres::shared().await).await;
    database
        .execute(
            "CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no %', NEW.mensaje USING ERRCODE = '22023'; END $$;
             CREATE TRIGGER odd BEFORE INSERT ON mensajes FOR EACH ROW EXECUTE FUNCTION odd()",
        )
        .await
        .unwrap();
    deliver(&router, &text("1", "wamid.1", PLANTED)).await;
    let line = router.wait_for_log("item not processed", SOON).await.unwrap();
    assert!(line.contains("22023"), "{line}");
    // Beside the message stands all that the database said.
    let kept = ask(&database, "SELECT error FROM pregon_router.work").await;
    assert_eq!(kept, format!("22023 no {PLANTED}"));
}

#[tokio::test]
async fn a_delivery_that_is_refused_is_told_by_its_code() {
    let (database, router) = start(postgres::shared().await).await;
    database
        .execute(
            "CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN RAISE 'no %', convert_from(NEW.body, 'UTF8') USING ERRCODE = '22023'; END $$;
             CREATE TRIGGER odd BEFORE INSERT ON pregon_router.inbox FOR EACH ROW EXECUTE FUNCTION odd()",
        )
        .await
        .unwrap();
    let body = text("1", "wamid.1", PLANTED).to_string();
    assert_eq!(post(&router, body.as_bytes()).await.unwrap().status(), 503);
    let line = router.wait_for_log("could not be kept", SOON).await.unwrap();
    assert!(line.contains("22023"), "{line}");
}

/// What `[limits] log_lines` bounds are lines of others, not the record of what was done.
#[tokio::test]
async fn every_message_has_its_line() {
    let (database, router) = start(postgres::shared().await).await;
    for n in 0..60 {
        deliver(&router, &text("1", &format!("wamid.{n}"), "hola")).await;
    }
    finished(&database).await;
    router.wait_for_log("wamid.59", SOON).await.unwrap();
    let told = router.lines();
    let told = told.iter().filter(|line| line.contains("item processed")).count();
    assert_eq!(told, 60, "{}", router.log());
}
