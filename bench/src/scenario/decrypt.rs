//! Messages that one core decrypts: from a row with an encrypted column to the payload that clients get.

use std::{
    hint::black_box,
    path::Path,
    process,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;
use pregon::{
    decrypt::{Decryptor, payload},
    event::Sealed,
};

use super::Effort;
use crate::{
    report::{Bar, Figure, Report, Table, median, short},
    usage,
};

const KEY: [u8; 32] = [7; 32];
/// More than the processor's predictors learn by heart.
const ROWS: usize = 1024;
/// Bytes of each text.
const TEXT: usize = 200;
/// A second a core.
const LEAST: f64 = 300_000.0;

const CONFIG: &str = "[postgres]\nurl = \"postgres://h/d\"\n[[watch]]\ntable = \"messages\"\n[[decrypt]]\nfrom = \"messages\"\n\
    fields = [\"message\"]\nformat = \"aes-256-gcm\"\nlayout = \"iv:tag:data\"\nplain = \"pass\"\nkey_env = \"MESSAGE_KEY\"\n";

/// One message: the row as it comes, what has to come out, and the parts of the ciphertext as bytes.
struct Row {
    json: Bytes,
    opened: String,
    iv: [u8; 12],
    tag: Vec<u8>,
    data: Vec<u8>,
}

pub(crate) fn run(effort: Effort) -> anyhow::Result<Report> {
    let slice = Duration::from_millis(if effort.quick { 200 } else { 1000 });
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &KEY).context("the key")?);
    let rows = (0..ROWS)
        .map(|id| row(&key, id))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let decryptor = decryptor()?;
    let sealed = [Sealed {
        field: "message".into(),
        with: "messages".into(),
        aad: None,
    }];
    for row in &rows {
        let opened = payload::open(&row.json, &sealed, &decryptor, &mut |_, _| {});
        ensure!(opened == row.opened.as_bytes(), "a row came out wrong");
    }
    usage::pin_load()?;
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..effort.passes {
        ours.push(rate(slice, &rows, |row| {
            black_box(payload::open(&row.json, &sealed, &decryptor, &mut |_, _| {}));
        })?);
        floor.push(rate(slice, &rows, |row| {
            let mut out = [0; TEXT];
            let nonce = Nonce::assume_unique_for_key(row.iv);
            let opened = key.open_separate_gather(nonce, Aad::empty(), &row.data, &row.tag, &mut out);
            black_box((opened.is_ok(), out));
        })?);
    }
    usage::unpin()?;
    Ok(report(median(&ours), median(&floor), effort))
}

fn decryptor() -> anyhow::Result<Decryptor> {
    let key = hex::encode(KEY);
    let env = |name: &str| (name == "MESSAGE_KEY").then(|| key.clone());
    let config = pregon::check::parse(CONFIG, "pregon.toml", Path::new("."), &env)?;
    Ok(Decryptor::build(&config)?)
}

fn row(key: &LessSafeKey, id: usize) -> anyhow::Result<Row> {
    let mut text = format!("mensaje {id}: ¿a qué hora llega el pedido? ");
    while text.len() < TEXT {
        text.push(char::from(b'a' + u8::try_from(text.len() % 26)?));
    }
    let mut iv = [0; 12];
    iv.iter_mut()
        .zip(id.to_be_bytes())
        .for_each(|(to, from)| *to = from);
    let mut data = text.clone().into_bytes();
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(iv), Aad::empty(), &mut data)
        .context("sealing")?;
    let tag = tag.as_ref().to_vec();
    let cipher = format!("{}:{}:{}", hex::encode(iv), hex::encode(&tag), hex::encode(&data));
    let json = |message: &str| {
        format!(
            "{{\"id\":{id},\"conversation_id\":42,\"bot_id\":null,\"sender\":\"user\",\"message\":\"{message}\",\
             \"created_at\":\"2026-01-01T00:00:00.000001+00:00\"}}"
        )
    };
    Ok(Row {
        json: json(&cipher).into(),
        opened: json(&text),
        iv,
        tag,
        data,
    })
}

/// Messages per second of CPU time.
fn rate(slice: Duration, rows: &[Row], work: impl Fn(&Row)) -> anyhow::Result<f64> {
    let (begun, before) = (Instant::now(), usage::cpu(process::id())?);
    let mut done = 0_u32;
    while begun.elapsed() < slice {
        rows.iter().for_each(&work);
        done += u32::try_from(rows.len())?;
    }
    let spent = usage::cpu(process::id())? - before;
    Ok(f64::from(done) / spent.as_secs_f64())
}

fn report(ours: f64, floor: f64, effort: Effort) -> Report {
    let mut table = Table::new(&["what", "messages/s", "CPU µs each"]);
    for (what, rate) in [("row to payload", ours), ("AES-GCM alone", floor)] {
        table.rows.push(vec![what.into(), short(rate), short(1e6 / rate)]);
    }
    Report {
        scenario: "decrypt",
        notes: vec![
            format!(
                "AES-256-GCM, hex `iv:tag:data`, a text of {TEXT} bytes in a row of six columns; one thread, its CPU time; medians of \
                 {} passes in turns with the floor.",
                effort.passes
            ),
            "The floor is aws-lc's AES-GCM on bytes that lie ready. Ours finds the column in the row, reads the hexadecimal, opens, \
             checks UTF-8, and writes the row anew with the text as a JSON string."
                .into(),
        ],
        figures: vec![Figure {
            what: "messages decrypted on one core".into(),
            ours,
            unit: "/s",
            against: "AES-GCM alone",
            theirs: floor,
            bar: Bar::Least(LEAST),
        }],
        table,
        quick: effort.quick,
    }
}
