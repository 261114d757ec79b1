//! Rows as lines, for a terminal of any size. Pure.

use super::keys::View;
use super::rows::{Order, Row, Rows};
use crate::overview::Overview;
use crate::view::amount::{UNKNOWN, bytes, millicores, number, percent, quantity};
use crate::view::summary::Node;
use crate::view::table::{Table, cut, printable};
use crate::view::terminal::Size;

/// The cursor to the corner; each line clears what was right of it, and the end clears what was below.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
const REVERSE: &str = "\x1b[7m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";
/// Above and below the rows: the head, the header, and the keys.
const OTHER_LINES: usize = 3;
/// Names are not made shorter than that.
const SHORTEST_NAME: usize = 12;
/// What stands right of the names.
const OTHER_COLUMNS: usize = 46;

/// The first line.
#[derive(Debug, Default)]
pub(super) struct Head {
    node: String,
    cpu_capacity: String,
    memory_capacity: String,
    pods: usize,
    containers: usize,
    usage: Node,
    /// Why what is shown is not new.
    pub(super) trouble: Option<String>,
}

impl Head {
    pub(super) fn of(overview: &Overview) -> Self {
        let capacity =
            |name: &str| overview.resources.get(name).map(|r| r.capacity.clone()).unwrap_or_default();
        let (cpu_capacity, memory_capacity) = (capacity("cpu"), capacity("memory"));
        Self { node: overview.node.name.clone(), cpu_capacity, memory_capacity, ..Self::default() }
    }

    pub(super) fn update(&mut self, rows: &Rows, usage: Node) {
        (self.pods, self.containers) = (rows.pods(), rows.containers());
        self.usage = usage;
        self.trouble = None;
    }

    fn line(&self) -> String {
        if let Some(trouble) = &self.trouble {
            return printable(&format!("{}: {trouble}", self.node));
        }
        let mut line = format!("{}: {} pods, {} containers", self.node, self.pods, self.containers);
        if let Some(cpu) = self.usage.cpu.usage_nano_cores {
            let share = percent(cpu as f64 / 1e9, number(&self.cpu_capacity));
            line += &format!("; cpu {} of {} ({share})", millicores(cpu), self.cpu_capacity);
        }
        if let Some(memory) = self.usage.memory.working_set_bytes {
            let share = percent(memory as f64, number(&self.memory_capacity));
            let capacity = quantity("memory", &self.memory_capacity);
            line += &format!("; memory {} of {capacity} ({share})", bytes(memory));
        }
        printable(&line)
    }
}

/// Header and rows.
pub(super) fn table(rows: &[&Row]) -> Table {
    with_names(rows, usize::MAX)
}

/// The same with names of at most so many characters.
fn with_names(rows: &[&Row], most: usize) -> Table {
    let header = ["POD, CONTAINER", "CPU", "MEMORY", "RESTARTS", "STATUS", "PRESSURE", "PROBES"];
    let header = header.map(|name| cut(name, most.max(SHORTEST_NAME)));
    let mut table = Table::new(&header).right(&[1, 2, 3]).gap(2);
    for row in rows {
        let name = if row.is_container { format!("  {}", row.name) } else { row.name.clone() };
        table.row(vec![
            shortened(name, most),
            row.cpu.map_or_else(|| UNKNOWN.to_owned(), millicores),
            row.memory.map_or_else(|| UNKNOWN.to_owned(), bytes),
            row.restarts.to_string(),
            row.status.clone(),
            row.pressure.map_or_else(
                || UNKNOWN.to_owned(),
                |(name, share)| if share > 0.0 { format!("{share:.1}% {name}") } else { "0".to_owned() },
            ),
            row.probes.clone(),
        ]);
    }
    table
}

/// A name's end is mostly what tells it from others.
fn shortened(name: String, most: usize) -> String {
    let length = name.chars().count();
    if length <= most {
        return name;
    }
    let tail: String = name.chars().skip(length - most.saturating_sub(1)).collect();
    format!("<{tail}")
}

/// Everything that is written to the terminal. The first row that is shown is moved so that there is no page without rows.
pub(super) fn screen(head: &Head, rows: &[&Row], view: &mut View, size: Size) -> String {
    let (width, height) = (usize::from(size.columns), usize::from(size.rows));
    let room = height.saturating_sub(OTHER_LINES);
    view.first = view.first.min(rows.len().saturating_sub(room.max(1)));
    let most = width.saturating_sub(OTHER_COLUMNS).max(SHORTEST_NAME);
    let mut lines = with_names(rows, most).lines().into_iter();
    let header = lines.next().unwrap_or_default();
    let mut shown = vec![styled(BOLD, cut(&head.line(), width)), styled(REVERSE, &padded(&header, width))];
    let is_container = rows.iter().skip(view.first).map(|row| row.is_container);
    for (line, is_container) in lines.skip(view.first).take(room).zip(is_container) {
        let line = cut(&line, width);
        shown.push(if is_container { line.to_owned() } else { styled(BOLD, line) });
    }
    // The last line stands at the bottom, and nothing behind it, which would scroll.
    shown.resize(height.saturating_sub(1).max(2), String::new());
    shown.push(cut(&keys(view), width).to_owned());
    shown.truncate(height);
    let lines = shown.iter().map(|line| format!("{line}{CLEAR_LINE}")).collect::<Vec<_>>();
    format!("{HOME}{}{CLEAR_BELOW}", lines.join("\r\n"))
}

fn styled(style: &str, line: &str) -> String {
    format!("{style}{line}{PLAIN}")
}

fn padded(line: &str, width: usize) -> String {
    let line = cut(line, width);
    let blanks = width.saturating_sub(line.chars().count());
    line.to_owned() + &" ".repeat(blanks)
}

fn keys(view: &View) -> String {
    if view.is_typing {
        return format!("/{}_   Enter keeps it, Esc drops it", view.filter);
    }
    let order = match view.order {
        Order::Cpu => "cpu",
        Order::Memory => "memory",
        Order::Name => "name",
        Order::Restarts => "restarts",
    };
    let filter = match view.filter.as_str() {
        "" => String::new(),
        filter => format!(" with \"{filter}\" (Esc: all)"),
    };
    format!("by {order}{filter}   q quit  c cpu  m memory  n name  r restarts  / filter  up, down scroll")
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::rows;
    use super::*;

    /// What a terminal shows: the lines without what styles them.
    fn visible(screen: &str) -> Vec<String> {
        let mut plain = screen.to_owned();
        for code in [HOME, CLEAR_LINE, CLEAR_BELOW, REVERSE, BOLD, PLAIN] {
            plain = plain.replace(code, "");
        }
        assert!(!plain.contains('\x1b'), "{plain:?}");
        plain.split("\r\n").map(str::to_owned).collect()
    }

    fn view() -> View {
        View::new(Order::Cpu, String::new())
    }

    #[test]
    fn one_table_has_pods_with_their_containers() {
        let rows = rows(None);
        let expected = "\
POD, CONTAINER    CPU  MEMORY  RESTARTS  STATUS                PRESSURE      PROBES
default/web      260m    50Mi         2  Running 1/2           -
  busy           250m    10Mi         2  Running               12.2% memory  unready(4 failed) live
  idle             1m    40Mi         0  Running               0
kube-system/dns     -       -         7  CrashLoopBackOff 0/1  -
  dns               -       -         7  CrashLoopBackOff      -             starting
";
        let text = table(&rows.arranged(Order::Cpu, "")).text();
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn a_terminal_of_any_size_is_filled_and_never_scrolls() {
        let rows = rows(None);
        let shown = rows.arranged(Order::Cpu, "");
        for (columns, lines) in [(80, 24), (200, 5), (30, 4), (1, 3), (1, 1), (10, 2), (300, 100)] {
            let mut view = view();
            view.first = 99;
            let screen = screen(&Head::default(), &shown, &mut view, Size { columns, rows: lines });
            let visible = visible(&screen);
            assert!(visible.len() <= usize::from(lines), "{columns}x{lines}: {visible:?}");
            let widest = visible.iter().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= usize::from(columns), "{columns}x{lines}: {visible:?}");
            assert!(view.first < shown.len(), "there is always a row to see");
        }
    }

    #[test]
    fn a_small_terminal_shows_a_page_of_the_rows_and_short_names() {
        let rows = rows(None);
        let shown = rows.arranged(Order::Cpu, "");
        let mut view = view();
        view.first = 3;
        let screen = screen(&Head::default(), &shown, &mut view, Size { columns: 50, rows: 5 });
        let visible = visible(&screen);
        assert_eq!(visible.len(), 5);
        assert!(visible[2].starts_with("<-system/dns     -"), "{visible:?}");
        assert!(visible[4].starts_with("by cpu   q quit"), "{visible:?}");
    }

    #[test]
    fn the_first_line_tells_the_node_and_what_is_wrong() {
        let mut head = Head {
            node: "n1".to_owned(),
            cpu_capacity: "2".to_owned(),
            memory_capacity: "4Gi".to_owned(),
            ..Head::default()
        };
        let usage = serde_json::from_str(
            "{\"cpu\":{\"usageNanoCores\":500000000},\"memory\":{\"workingSetBytes\":1073741824}}",
        );
        head.update(&rows(None), usage.unwrap());
        assert_eq!(head.line(), "n1: 2 pods, 3 containers; cpu 500m of 2 (25%); memory 1.0Gi of 4.0Gi (25%)");
        head.trouble = Some("nobody\nanswers".to_owned());
        assert_eq!(head.line(), "n1: nobody answers");
    }
}
