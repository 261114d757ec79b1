use super::*;

const BEFORE: &str = "pss\t9000\nanonymous\t1500\ndescriptor\tsocket:[12]\ndescriptor\tsocket:[13]\ndescriptor\t/dev/null\n\
                      thread\tnodelet\nfile\t/r/pods\n";
const SAME: Bounds = Bounds { anonymous_kib: 1024, same_process: true, files: true };

fn leaks(after: &str, bounds: Bounds) -> Vec<String> {
    Comparison::new(Holdings::parse(BEFORE), Holdings::parse(after), bounds).leaks()
}

#[test]
fn what_has_stayed_the_same_or_become_less_is_no_leak() {
    assert_eq!(leaks(BEFORE, SAME), [""; 0]);
    let less = "pss\t9000\nanonymous\t2524\ndescriptor\tsocket:[99]\nthread\tnodelet\n";
    assert_eq!(leaks(less, SAME), [""; 0]);
}

#[test]
fn each_leak_is_named() {
    let after = format!(
        "{BEFORE}descriptor\tsocket:[14]\nfile\t/r/pods/u-1\nmount\t/r/pods/u-1/v\nhelper\tchild 7 zstd\n"
    );
    let wanted = [
        "descriptors: socket: 2 -> 3",
        "helper processes: child 7 zstd",
        "mounts: /r/pods/u-1/v",
        "files and directories: /r/pods/u-1",
    ];
    assert_eq!(leaks(&after, SAME), wanted);
}

#[test]
fn memory_may_grow_up_to_its_bound() {
    let after = BEFORE.replace("anonymous\t1500", "anonymous\t2525");
    assert_eq!(leaks(&after, SAME), ["memory not backed by a file: 1025 KiB more, 1024 allowed"]);
}

#[test]
fn another_process_is_not_compared_with_the_one_before() {
    let other = Bounds { same_process: false, ..SAME };
    let after =
        "pss\t90000\nanonymous\t80000\ndescriptor\t/x\nthread\ta\nthread\tb\nwatch\tinotify\nruntime\tshim\n";
    assert_eq!(leaks(after, other), [""; 0]);
    assert_eq!(leaks("mount\t/r/m\n", other), ["mounts: /r/m"]);
}

#[test]
fn a_node_that_has_had_pods_may_keep_what_the_first_ones_brought_and_nothing_else() {
    let empty = Holdings::parse("mount\t/r/a\n");
    let warm = Holdings::parse("pss\t5\nfile\t/r/kept\nthread\tblocking\nmount\t/r/a\nmount\t/r/b\n");
    let begins = warm.clone().on_the_node_of(&empty);
    assert_eq!(begins, Holdings::parse("pss\t5\nfile\t/r/kept\nthread\tblocking\nmount\t/r/a\n"));
    assert_eq!(Comparison::new(begins, warm.clone(), SAME).leaks(), ["mounts: /r/b"]);
    let without = Bounds { files: false, same_process: false, ..SAME };
    assert_eq!(Comparison::new(empty, warm, without).leaks(), ["mounts: /r/b"]);
}

#[test]
fn what_was_never_seen_is_told() {
    let mut peak = Peak::default();
    peak.note(&Holdings::parse("mount\tm\nfile\tf\nlink\tl\n"));
    peak.note(&Holdings::parse("network\tn\ncgroup\tc\n"));
    assert_eq!(peak.unseen(true), ["sandboxes", "containers"]);
    assert_eq!(Peak::default().unseen(true).len(), 7);
    assert_eq!(Peak::default().unseen(false).len(), 6);
}

#[test]
fn many_leaks_of_a_kind_are_counted() {
    let after: String = (0..9).map(|n| format!("link\t/l/{n}\n")).collect();
    let leaks = leaks(&after, SAME);
    assert_eq!((leaks.len(), leaks[5].as_str()), (6, "links to logs: and 4 more"));
}

#[tokio::test]
async fn the_script_sees_this_process() {
    let dir = std::env::temp_dir();
    let nowhere = "/nonexistent".to_owned();
    let places = Places {
        daemon: format!("echo {}", std::process::id()),
        root: nowhere.clone(),
        pod_logs: nowhere.clone(),
        log_links: dir.display().to_string(),
        runtime_state: nowhere.clone(),
        namespaces: Vec::new(),
        bridge: "none".to_owned(),
        cgroups: None,
    };
    let text = Shell::Here.run(&script(&places)).await.expect("the script ends well");
    let holdings = Holdings::parse(&text);
    assert!(holdings.anonymous_kib > 0 && holdings.pss_kib >= holdings.anonymous_kib, "{text}");
    assert!(holdings.count(Kind::Descriptor) >= 3 && holdings.count(Kind::Thread) >= 1, "{text}");
    assert_eq!(holdings.count(Kind::Mount), 0, "{text}");
    // The shell itself is a child of this process.
    assert!(text.lines().any(|line| line.starts_with("helper\tchild ")), "{text}");
}
