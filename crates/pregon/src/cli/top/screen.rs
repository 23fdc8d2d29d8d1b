//! The figures as a picture: the same for a terminal and for text. Pure; it knows neither time nor terminal.

use std::collections::VecDeque;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Sparkline, Widget};

use super::super::output::size;
use super::figures::{Count, Figures, Source};

/// Intervals that the curves show at most: wider than any screen.
const REMEMBERED: usize = 300;

/// What the curves are drawn from, newest last.
#[derive(Debug, Default)]
pub(super) struct History {
    deliveries: VecDeque<u64>,
    /// In microseconds, because a curve has whole numbers.
    p99: VecDeque<u64>,
}

impl History {
    pub(super) fn push(&mut self, figures: &Figures) {
        let p99 = Some(figures.commit_to_write).filter(|written| written.recent);
        let p99 = p99.and_then(|written| written.p99_ms).unwrap_or_default();
        for (curve, value) in [
            (&mut self.deliveries, figures.deliveries.per_second),
            (&mut self.p99, p99 * 1000.0),
        ] {
            curve.push_back(rounded(value));
            if curve.len() > REMEMBERED {
                curve.pop_front();
            }
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts from floats saturate, and negative ones are 0"
)]
fn rounded(value: f64) -> u64 {
    value.round() as u64
}

/// One picture.
#[derive(Debug)]
pub(super) struct Picture<'p> {
    pub(super) figures: &'p Figures,
    /// Without it there are no curves.
    pub(super) history: Option<&'p History>,
    /// Which keys there are.
    pub(super) hint: &'p str,
    /// Why the figures are not of now.
    pub(super) trouble: Option<&'p str>,
}

/// The picture as lines of text.
pub(super) fn text(figures: &Figures, width: u16) -> String {
    let picture = Picture {
        figures,
        history: None,
        hint: "",
        trouble: None,
    };
    let area = Rect::new(0, 0, width, picture.height());
    let mut buffer = Buffer::empty(area);
    picture.render(area, &mut buffer);
    lines(&buffer)
}

fn lines(buffer: &Buffer) -> String {
    let mut out = String::new();
    for y in buffer.area.rows() {
        let line: String = y
            .columns()
            .filter_map(|cell| buffer.cell((cell.x, cell.y)))
            .map(|cell| cell.symbol())
            .collect();
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

impl Picture<'_> {
    /// Lines that everything but the curves needs, borders included.
    fn height(&self) -> u16 {
        1 + self.top_height() + self.middle_height() + 3
    }

    fn top_height(&self) -> u16 {
        let transports = u16::try_from(self.figures.connections.len()).unwrap_or_default();
        transports.clamp(3, 5) + 3
    }

    fn middle_height(&self) -> u16 {
        let sources = u16::try_from(self.figures.sources.len()).unwrap_or(u16::MAX);
        (sources.min(10) + 2).max(4) + 2
    }
}

impl Widget for &Picture<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let curves = if self.history.is_some() {
            Constraint::Min(4)
        } else {
            Constraint::Length(0)
        };
        let rows = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(self.top_height()),
            Constraint::Length(self.middle_height()),
            Constraint::Length(3 + u16::from(!self.figures.refused.is_empty())),
            curves,
        ]);
        let [head, top, middle, drops, curves] = rows.areas(area);
        self.head(head, buffer);
        let thirds = Layout::horizontal([
            Constraint::Ratio(1, 4),
            Constraint::Ratio(5, 12),
            Constraint::Ratio(1, 3),
        ]);
        let [connections, rates, latency] = thirds.areas(top);
        panel("Connections", self.connections()).render(connections, buffer);
        panel("Rates", self.rates()).render(rates, buffer);
        panel("Commit → write", self.latency()).render(latency, buffer);
        let halves = Layout::horizontal([Constraint::Ratio(3, 5), Constraint::Ratio(2, 5)]);
        let [sources, log] = halves.areas(middle);
        panel("Sources", self.sources()).render(sources, buffer);
        panel("Log", self.log()).render(log, buffer);
        panel("Not delivered, not admitted", self.refusals()).render(drops, buffer);
        if let Some(history) = self.history {
            let halves = Layout::horizontal([Constraint::Ratio(1, 2), Constraint::Ratio(1, 2)]);
            let [deliveries, p99] = halves.areas(curves);
            curve("Deliveries/s", &history.deliveries, Color::Cyan, &|most| {
                grouped(most)
            })
            .render(deliveries, buffer);
            curve("Commit → write p99", &history.p99, Color::Magenta, &|most| {
                milliseconds(most as f64 / 1000.0)
            })
            .render(p99, buffer);
        }
    }
}

impl Picture<'_> {
    fn head(&self, area: Rect, buffer: &mut Buffer) {
        let state = match &self.figures.missing {
            None => Span::from("ready").green().bold(),
            Some(missing) => Span::from(format!("not ready: {missing}")).red().bold(),
        };
        if let Some(trouble) = self.trouble {
            return Line::from(trouble).red().bold().render(area, buffer);
        }
        let name = Span::from("pregón ").bold();
        let line = Line::from(vec![name, Span::from(format!("{} ", self.figures.url)), state]);
        let hint = Line::from(self.hint).dim().right_aligned();
        if line.width() + hint.width() < usize::from(area.width) {
            hint.render(area, buffer);
        }
        line.render(area, buffer);
    }

    fn connections(&self) -> Vec<Line<'static>> {
        let mut lines: Vec<Line<'_>> = self
            .figures
            .connections
            .iter()
            .map(|(transport, count)| pair(transport, &grouped(*count), 10))
            .collect();
        lines.push(pair("total", &grouped(self.figures.connections_total), 10).bold());
        lines
    }

    fn rates(&self) -> Vec<Line<'static>> {
        let figures = self.figures;
        let told = figures.gaps.total;
        vec![
            rate("events", figures.events),
            rate("publications", figures.publications),
            rate("deliveries", figures.deliveries),
            Line::from(format!(
                "{:<13}{:>10}/s{:>12}",
                "bytes",
                size(rounded(figures.delivered_bytes.per_second)),
                size(figures.delivered_bytes.total)
            )),
            Line::from(format!(
                "replayed {}, gaps told {}",
                grouped(figures.replayed.total),
                grouped(told)
            )),
        ]
    }

    fn latency(&self) -> Vec<Line<'static>> {
        let written = self.figures.commit_to_write;
        let of = match (written.count, written.recent) {
            (0, _) => "nothing measured yet".to_owned(),
            (count, true) => format!("of {} in {:.1} s", grouped(count), self.figures.interval_seconds),
            (count, false) => format!("of {} since the start", grouped(count)),
        };
        vec![
            pair("p50", &optional(written.p50_ms), 5).bold(),
            pair("p99", &optional(written.p99_ms), 5).bold(),
            Line::from(of).dim(),
        ]
    }

    fn sources(&self) -> Vec<Line<'static>> {
        let figures = self.figures;
        let mut lines: Vec<Line<'_>> = figures.sources.iter().map(source).collect();
        let outbox = &figures.outbox;
        if outbox.rows > 0 || outbox.lag_seconds > 0.0 {
            let text = format!(
                "outbox {} rows, {}, lag {:.1} s",
                grouped(outbox.rows),
                size(outbox.bytes),
                outbox.lag_seconds
            );
            lines.push(Line::from(text));
        }
        if outbox.stalled_seconds > 0.0 {
            let text = format!(
                "held back by an open transaction for {:.0} s",
                outbox.stalled_seconds
            );
            lines.push(Line::from(text).yellow());
        }
        if figures.slot.retained_bytes > 0 || figures.slot.alarm {
            let text = format!("slot keeps {} of WAL", size(figures.slot.retained_bytes));
            lines.push(if figures.slot.alarm {
                Line::from(format!("{text}: more than half of what is allowed")).red()
            } else {
                Line::from(text)
            });
        }
        lines
    }

    fn log(&self) -> Vec<Line<'static>> {
        let log = &self.figures.log;
        let failures = format!("failures {}", grouped(log.failures));
        vec![
            Line::from(format!(
                "{} in {} file(s)",
                size(log.bytes),
                grouped(log.segments)
            )),
            Line::from(format!(
                "offsets {} to {}",
                grouped(log.oldest),
                grouped(log.newest)
            )),
            Line::from(format!(
                "fsync p50 {}, p99 {}",
                optional(log.sync.p50_ms),
                optional(log.sync.p99_ms)
            )),
            Line::from(format!(
                "window {}, {} entries",
                size(log.window_bytes),
                grouped(log.window_entries)
            )),
            if log.failures > 0 {
                Line::from(failures).red()
            } else {
                Line::from(failures)
            },
        ]
    }

    fn refusals(&self) -> Vec<Line<'static>> {
        let mut lines = vec![self.drops()];
        if !self.figures.refused.is_empty() {
            lines.push(self.addresses());
        }
        lines
    }

    /// To whom most was refused, the worst first.
    fn addresses(&self) -> Line<'static> {
        let mut worst: Vec<_> = self.figures.refused.iter().collect();
        worst.sort_by_key(|(_, reasons)| std::cmp::Reverse(reasons.values().sum::<u64>()));
        let told = worst.into_iter().map(|(address, reasons)| {
            let reasons: Vec<_> = reasons
                .iter()
                .map(|(reason, count)| format!("{reason} {}", grouped(*count)))
                .collect();
            format!("{address} ({})", reasons.join(", "))
        });
        Line::from(format!("from {}", told.collect::<Vec<_>>().join("  "))).yellow()
    }

    fn drops(&self) -> Line<'static> {
        let mut drops: Vec<(&String, &Count)> = self.figures.drops.iter().collect();
        drops.sort_by_key(|(_, count)| std::cmp::Reverse(count.total));
        if drops.is_empty() {
            return Line::from("nothing").dim();
        }
        let mut spans = Vec::new();
        for (reason, count) in drops {
            let text = format!("{reason} {} ", grouped(count.total));
            if count.per_second > 0.0 {
                spans.push(Span::from(format!("{text}(+{:.1}/s) ", count.per_second)).yellow());
            } else {
                spans.push(Span::from(text));
            }
        }
        Line::from(spans)
    }
}

fn panel<'t>(title: &'t str, lines: Vec<Line<'t>>) -> Paragraph<'t> {
    Paragraph::new(lines).block(
        Block::bordered()
            .title(format!(" {title} "))
            .border_style(Style::new().dim()),
    )
}

fn curve<'c>(
    title: &str,
    values: &'c VecDeque<u64>,
    color: Color,
    unit: &dyn Fn(u64) -> String,
) -> Sparkline<'c> {
    let most = values.iter().max().copied().unwrap_or_default();
    let title = format!(" {title}, at most {} ", unit(most));
    let block = Block::bordered().title(title).border_style(Style::new().dim());
    // The newest at the right edge of whatever width there is.
    Sparkline::default()
        .data(values.iter().rev())
        .direction(ratatui::widgets::RenderDirection::RightToLeft)
        .style(Style::new().fg(color))
        .block(block)
}

fn pair(name: &str, value: &str, width: usize) -> Line<'static> {
    Line::from(format!("{name:<width$}{value:>8}"))
}

fn rate(name: &str, count: Count) -> Line<'static> {
    Line::from(format!(
        "{name:<13}{:>10}/s{:>12}",
        per_second(count.per_second),
        grouped(count.total)
    ))
}

fn source(source: &Source) -> Line<'static> {
    let state = if source.up {
        Span::from("up   ").green()
    } else {
        Span::from("DOWN ").red().bold()
    };
    let mut text = format!(
        "{:<18}{:>9}/s{:>12}",
        source.name,
        per_second(source.events.per_second),
        grouped(source.events.total)
    );
    if source.gaps > 0 {
        text.push_str(&format!("  gaps {}", grouped(source.gaps)));
    }
    Line::from(vec![state, Span::from(text)])
}

fn per_second(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.1}")
    } else {
        grouped(rounded(value))
    }
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), milliseconds)
}

fn milliseconds(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2} ms"),
        value if value < 1000.0 => format!("{value:.0} ms"),
        value => format!("{:.1} s", value / 1000.0),
    }
}

/// With a comma between thousands.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::figures::tests::example;
    use super::*;

    fn drawn(figures: &Figures, width: u16, height: u16) -> Buffer {
        let mut history = History::default();
        history.push(figures);
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let picture = Picture {
            figures,
            history: Some(&history),
            hint: "q ends it",
            trouble: None,
        };
        terminal
            .draw(|frame| frame.render_widget(&picture, frame.area()))
            .unwrap();
        terminal.backend().buffer().clone()
    }

    #[test]
    fn a_frame_shows_how_the_gateway_is() {
        let buffer = drawn(&example(), 100, 30);
        let text = lines(&buffer);
        for words in [
            "pregón http://gateway not ready: postgres",
            "q ends it",
            "websocket        3",
            "total            5",
            "deliveries        2,000/s       5,000",
            "p50   1.00 ms",
            "p99   5.00 ms",
            "of 100 in 2.0 s",
            "DOWN postgres",
            "up   wal",
            "outbox 42 rows, 0 B, lag 1.5 s",
            "slot keeps 1.0 MiB of WAL: more than half",
            "2.0 MiB in 2 file(s)",
            "nobody 7 (+3.5/s) slow 5 (+1.0/s)",
            "Deliveries/s, at most 2,000",
            "█",
        ] {
            assert!(text.contains(words), "{words} in\n{text}");
        }
        let at = text.lines().next().unwrap().find("not ready").unwrap();
        let column = u16::try_from(text.lines().next().unwrap().get(..at).unwrap().chars().count()).unwrap();
        assert_eq!(buffer.cell((column, 0)).unwrap().fg, Color::Red);
    }

    #[test]
    fn any_size_of_a_terminal_is_drawn() {
        for (width, height) in [(1, 1), (20, 5), (40, 60), (300, 100)] {
            drawn(&example(), width, height);
        }
    }

    #[test]
    fn text_has_all_but_the_curves() {
        let text = text(&example(), 100);
        assert!(
            text.contains("fsync p50 –") && text.contains("nobody 7") && !text.contains("at most"),
            "{text}"
        );
        assert!(text.lines().all(|line| !line.ends_with(' ')), "{text}");
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(
            (milliseconds(0.25), milliseconds(2500.0)),
            ("0.25 ms".into(), "2.5 s".into())
        );
        assert_eq!(
            (per_second(0.5), per_second(1234.4)),
            ("0.5".into(), "1,234".into())
        );
    }
}
