//! The loop on a terminal: readings, keys and signals in, pictures out. Everything is in one task, which ends by leaving the loop;
//! the terminal is put back as it was in any case.

use std::time::Duration;

use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use futures_util::StreamExt as _;
use ratatui::DefaultTerminal;
use ratatui::text::Line;
use tokio::signal::unix::{SignalKind, signal};

use super::super::{block_on, output};
use super::figures::Figures;
use super::scrape::{Reading, Scraper};
use super::screen::{History, Picture};

/// What is shown.
struct View {
    url: String,
    last: Option<Reading>,
    figures: Option<Figures>,
    history: History,
    /// Why the last reading failed.
    trouble: Option<String>,
    held: bool,
}

/// Whether the loop goes on.
#[derive(Debug, PartialEq, Eq)]
enum Then {
    Draw,
    Wait,
    End,
}

pub(super) fn run(scraper: Scraper, interval: Duration) -> anyhow::Result<()> {
    // Before the screen is taken: a wrong address is said in words.
    let first = block_on(scraper.read())?;
    let terminal = ratatui::try_init()?;
    let done = block_on(watch(terminal, &scraper, first, interval));
    ratatui::restore();
    done
}

async fn watch(
    mut terminal: DefaultTerminal,
    scraper: &Scraper,
    first: Reading,
    interval: Duration,
) -> anyhow::Result<()> {
    let mut view = View::new(scraper.url(), first);
    let mut keys = EventStream::new();
    let mut terminate = signal(SignalKind::terminate())?;
    // The first rates soon; an empty screen is no good start.
    let mut reading = Box::pin(read_after(scraper, interval.min(Duration::from_millis(250))));
    view.draw(&mut terminal)?;
    loop {
        let then = tokio::select! {
            read = &mut reading => {
                reading.set(read_after(scraper, interval));
                view.read(read)
            }
            event = keys.next() => match event {
                Some(event) => view.heard(&event?),
                None => Then::End,
            },
            _ = terminate.recv() => Then::End,
        };
        match then {
            Then::Draw => view.draw(&mut terminal)?,
            Then::Wait => {}
            Then::End => return Ok(()),
        }
    }
}

async fn read_after(scraper: &Scraper, pause: Duration) -> anyhow::Result<Reading> {
    tokio::time::sleep(pause).await;
    scraper.read().await
}

impl View {
    fn new(url: &str, first: Reading) -> Self {
        Self {
            url: url.to_owned(),
            last: Some(first),
            figures: None,
            history: History::default(),
            trouble: None,
            held: false,
        }
    }

    /// A gateway that is away leaves its last figures on the screen.
    fn read(&mut self, read: anyhow::Result<Reading>) -> Then {
        match read {
            Ok(reading) => {
                if let Some(last) = self.last.replace(reading).as_ref()
                    && let Some(now) = &self.last
                    && !self.held
                {
                    let figures = Figures::between(last, now);
                    self.history.push(&figures);
                    self.figures = Some(figures);
                }
                self.trouble = None;
            }
            Err(error) => self.trouble = Some(output::chain(&error)),
        }
        Then::Draw
    }

    fn heard(&mut self, event: &Event) -> Then {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.pressed(key),
            Event::Resize(..) => Then::Draw,
            _ => Then::Wait,
        }
    }

    fn pressed(&mut self, key: &KeyEvent) -> Then {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => Then::End,
            KeyCode::Char('q') | KeyCode::Esc => Then::End,
            KeyCode::Char(' ') => {
                self.held = !self.held;
                Then::Draw
            }
            _ => Then::Wait,
        }
    }

    fn draw(&self, terminal: &mut DefaultTerminal) -> anyhow::Result<()> {
        terminal.draw(|frame| {
            let area = frame.area();
            match &self.figures {
                None => frame.render_widget(Line::from(format!("pregón {}: measuring …", self.url)), area),
                Some(figures) => frame.render_widget(
                    &Picture {
                        figures,
                        history: Some(&self.history),
                        hint: if self.held {
                            "held: space goes on, q ends it"
                        } else {
                            "space holds it, q ends it"
                        },
                        trouble: self.trouble.as_deref(),
                    },
                    area,
                ),
            }
        })?;
        Ok(())
    }
}
