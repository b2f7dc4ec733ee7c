//! The results as a table of values, and as a chart.

use core::fmt::Write;

use super::Workload;

/// One server under one workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was asked of it.
    pub workload: Workload,
    /// What it is called.
    pub server: String,
    /// Microseconds of processor time per message: the median of the rounds.
    pub time: f64,
    /// The least of the rounds.
    pub least: f64,
    /// The raw echo's time divided by the server's: the median over rounds.
    pub figure: f64,
    /// How much of its processor's time it took, of 1.
    pub share: f64,
}

const HEAD: &str = "workload,server,microseconds,least,figure,share";

/// The rows as comma-separated values.
#[must_use]
pub fn write(rows: &[Row]) -> String {
    let mut text = format!("{HEAD}\n");
    for row in rows {
        let Row {
            workload,
            server,
            time,
            least,
            figure,
            share,
        } = row;
        // A String takes all.
        let _ = writeln!(
            text,
            "{workload},{server},{time:.4},{least:.4},{figure:.4},{share:.4}"
        );
    }
    text
}

/// Reads what [`write()`] wrote.
///
/// # Errors
/// The line that is wrong.
pub fn read(text: &str) -> Result<Vec<Row>, String> {
    let rows = text.strip_prefix(HEAD).ok_or("another table")?;
    rows.lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let fields: Vec<_> = line.split(',').collect();
            let number = |text: &str| text.parse().ok();
            if let [workload, server, time, least, figure, share] = fields[..]
                && let Ok(workload) = workload.parse()
                && let (Some(time), Some(least)) = (number(time), number(least))
                && let (Some(figure), Some(share)) = (number(figure), number(share))
            {
                let server = server.to_owned();
                return Ok(Row {
                    workload,
                    server,
                    time,
                    least,
                    figure,
                    share,
                });
            }
            Err(format!("no row: {line:?}"))
        })
        .collect()
}

// In pixels.
const NAME_WIDTH: f64 = 184.0;
const COLUMN_WIDTH: f64 = 136.0;
const BAR_WIDTH: f64 = 80.0;
/// Bars end here, even if the figure is greater.
const LONGEST_BAR: f64 = BAR_WIDTH + 5.0;
/// Where the values stand, beside the longest bar.
const VALUE: f64 = BAR_WIDTH + 11.0;
const BAR_HEIGHT: f64 = 14.0;
const ROW_HEIGHT: f64 = 26.0;
const HEAD_HEIGHT: f64 = 128.0;
const FOOT_HEIGHT: f64 = 20.0;
const MARGIN: f64 = 20.0;

/// Its own background makes it legible wherever it is shown; the colours follow the reader's.
const STYLE: &str = "\
text { font: 13px system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif; \
fill: #1f2328 }
.title { font-size: 16px; font-weight: 600 }
.quiet { fill: #59636e }
.small { font-size: 12px }
.own { font-weight: 600 }
.page { fill: #ffffff; stroke: #d1d9e0 }
.bar { fill: #afb8c1 }
.bar.own { fill: #0969da }
.limit { stroke: #59636e; stroke-dasharray: 2 3 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
.quiet { fill: #9198a1 }
.page { fill: #0d1117; stroke: #3d444d }
.bar { fill: #565f69 }
.bar.own { fill: #4493f8 }
.limit { stroke: #9198a1 }
}";

/// A chart of the figures, as SVG: a row for each server, a column for each workload.
#[must_use]
pub fn draw(rows: &[Row]) -> String {
    let mut workloads: Vec<Workload> = Vec::new();
    let mut servers: Vec<&str> = Vec::new();
    for row in rows {
        if !workloads.contains(&row.workload) {
            workloads.push(row.workload);
        }
        // The raw echo is the limit that all are drawn against.
        if row.figure != 1.0 && !servers.contains(&row.server.as_str()) {
            servers.push(&row.server);
        }
    }
    let figure = |server: &str, workload: Workload| {
        let found = rows
            .iter()
            .find(|row| row.server == server && row.workload == workload);
        found.map_or(0.0, |row| row.figure)
    };
    let sum = |server: &str| -> f64 { workloads.iter().map(|w| figure(server, *w)).sum() };
    servers.sort_by(|a, b| sum(b).total_cmp(&sum(a)));

    let width = NAME_WIDTH + COLUMN_WIDTH * workloads.len() as f64 + MARGIN;
    let bottom = HEAD_HEIGHT + ROW_HEIGHT * servers.len() as f64;
    let height = bottom + FOOT_HEIGHT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
        width=\"{width}\" height=\"{height}\" role=\"img\" aria-labelledby=\"title\">\n\
        <title id=\"title\">Echo throughput: {}</title>\n<style>\n{STYLE}\n</style>\n\
        <rect class=\"page\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"6\"/>\n\
        <text class=\"title\" x=\"{MARGIN}\" y=\"32\">Echo throughput</text>\n\
        <text class=\"quiet\" x=\"{MARGIN}\" y=\"53\">Processor time per message of a raw TCP \
        echo, divided by the server’s: 1, the dotted line, is the limit.</text>\n",
        servers
            .iter()
            .map(|server| {
                let figures = workloads
                    .iter()
                    .map(|workload| format!("{:.2}", figure(server, *workload)))
                    .collect::<Vec<_>>();
                format!("{server} {}", figures.join(", "))
            })
            .collect::<Vec<_>>()
            .join("; "),
        width - 1.0,
        height - 1.0,
    );
    // A String takes all.
    for (number, workload) in workloads.iter().enumerate() {
        let x = NAME_WIDTH + COLUMN_WIDTH * number as f64;
        let size = match workload.size {
            size if size % 1024 == 0 && size > 0 => format!("{} KiB", size / 1024),
            size => format!("{size} B"),
        };
        let depth = match workload.depth {
            1 => "one at a time".to_owned(),
            depth => format!("{depth} at once"),
        };
        let limit = x + BAR_WIDTH;
        let _ = write!(
            svg,
            "<text class=\"own\" x=\"{x}\" y=\"82\">{size}</text>\n\
            <text class=\"quiet small\" x=\"{x}\" y=\"99\">{depth},</text>\n\
            <text class=\"quiet small\" x=\"{x}\" y=\"115\">{} connections</text>\n\
            <line class=\"limit\" x1=\"{limit}\" x2=\"{limit}\" y1=\"{}\" y2=\"{bottom}\"/>\n",
            workload.connections,
            HEAD_HEIGHT - 4.0,
        );
    }
    for (number, server) in servers.iter().enumerate() {
        let y = HEAD_HEIGHT + ROW_HEIGHT * number as f64;
        let text = y + BAR_HEIGHT - 2.5;
        let own = if server.starts_with("motews") {
            " own"
        } else {
            ""
        };
        let _ = writeln!(
            svg,
            "<text class=\"name{own}\" x=\"{MARGIN}\" y=\"{text}\">{server}</text>"
        );
        for (column, workload) in workloads.iter().enumerate() {
            let x = NAME_WIDTH + COLUMN_WIDTH * column as f64;
            let figure = figure(server, *workload);
            let bar = (BAR_WIDTH * figure).min(LONGEST_BAR);
            let _ = write!(
                svg,
                "<rect class=\"bar{own}\" x=\"{x}\" y=\"{y}\" width=\"{bar:.1}\" \
                height=\"{BAR_HEIGHT}\" rx=\"2\"/>\n\
                <text class=\"small{own}\" x=\"{:.1}\" y=\"{text}\">{figure:.2}</text>\n",
                x + VALUE,
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let row = |server: &str, figure| Row {
            workload: Workload::new(32, 1024, 16),
            server: server.to_owned(),
            time: 0.25,
            least: 0.125,
            figure,
            share: 0.75,
        };
        vec![
            row("raw TCP", 1.0),
            row("peer 1.2", 0.5),
            row("motews", 0.875),
        ]
    }

    #[test]
    fn what_is_written_is_read_again() {
        assert_eq!(read(&write(&rows())), Ok(rows()));
        assert!(read("another,table\n").is_err());
        assert!(read(&format!("{HEAD}\n32:1K:16,motews,fast,0,0,0\n")).is_err());
    }

    #[test]
    fn the_chart_has_each_figure_but_the_limits_and_the_best_first() {
        let svg = draw(&rows());
        let position = |text: &str| svg.find(text).unwrap_or_else(|| panic!("{text}: {svg}"));
        assert!(position(">motews</text>") < position(">0.88</text>"));
        assert!(position(">0.88</text>") < position(">peer 1.2</text>"));
        assert!(position(">peer 1.2</text>") < position(">0.50</text>"));
        assert!(!svg.contains(">raw TCP<"), "{svg}");
    }
}
