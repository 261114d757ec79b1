use super::*;

const NOW: Timestamp = Timestamp::constant(1_795_655_465, 0);
const LOG: &str = "0.log";

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| format!("{LOG}.{s}")).collect()
}

#[track_caller]
fn rotates(files: &[&str], most: usize, busy: &[&str], remove: &[&str], to: &str, compress: &[&str]) {
    let mut files = names(files);
    files.extend(["0.log".to_owned(), "1.log".to_owned(), "1.log.20250101-000000".to_owned()]);
    let plan = rotation(LOG, &files, most, NOW, &names(busy).into_iter().collect());
    let expected = Plan { remove: names(remove), rename_to: names(&[to]).pop(), compress: names(compress) };
    assert_eq!(plan, expected, "{files:?}");
}

#[test]
fn a_rotation_keeps_the_newest_files_and_compresses_what_was_rotated_before() {
    let to = "20261126-011105";
    rotates(&[], 5, &[], &[], to, &[]);
    rotates(&["20261126-000001"], 5, &[], &[], to, &["20261126-000001"]);
    rotates(
        &["20261126-000003", "20261126-000001.gz", "20261126-000002.gz"],
        5,
        &[],
        &[],
        to,
        &["20261126-000003"],
    );
    rotates(
        &["20261126-000004", "20261126-000001.gz", "20261126-000002.gz", "20261126-000003.gz"],
        5,
        &[],
        &["20261126-000001.gz"],
        to,
        &["20261126-000004"],
    );
    // Two files: the log, and the one before it.
    rotates(&["20261126-000004"], 2, &[], &["20261126-000004"], to, &[]);
    rotates(&[], 2, &[], &[], to, &[]);
}

#[test]
fn what_a_crash_has_left_is_removed() {
    let to = "20261126-011105";
    rotates(
        &["20261126-000001", "20261126-000001.tmp"],
        5,
        &[],
        &["20261126-000001.tmp"],
        to,
        &["20261126-000001"],
    );
    rotates(&["20261126-000001", "20261126-000001.gz"], 5, &[], &["20261126-000001"], to, &[]);
    rotates(&["20261126-000001.tmp"], 5, &[], &["20261126-000001.tmp"], to, &[]);
}

#[test]
fn what_is_being_compressed_is_left_alone_unless_it_is_too_old() {
    let to = "20261126-011105";
    let busy = &["20261126-000001"];
    rotates(&["20261126-000001", "20261126-000001.tmp"], 5, busy, &[], to, &[]);
    // Compressed, and the plain file is about to be removed: it is a sign that the compressed one stays.
    rotates(&["20261126-000001", "20261126-000001.gz"], 5, busy, &[], to, &[]);
    rotates(
        &["20261126-000001", "20261126-000001.tmp", "20261126-000002"],
        3,
        busy,
        &["20261126-000001", "20261126-000001.gz"],
        to,
        &["20261126-000002"],
    );
}

#[test]
fn the_same_second_does_not_overwrite_a_file() {
    rotates(&["20261126-011105"], 5, &[], &[], "20261126-011105_01", &["20261126-011105"]);
    rotates(&["20261126-011105.tmp"], 5, &[], &["20261126-011105.tmp"], "20261126-011105_01", &[]);
}

#[test]
fn a_start_cleans_up_and_leaves_the_newest_rotated_file_as_it_is() {
    let files = names(&["1.tmp", "2.gz", "2", "3", "4.gz", "5"]);
    let plan = recovery(LOG, &files, 5, &BTreeSet::new());
    let expected = Plan { remove: names(&["1.tmp", "2"]), rename_to: None, compress: names(&["3"]) };
    assert_eq!(plan, expected);
    assert_eq!(recovery(LOG, &[], 5, &BTreeSet::new()), Plan::default());
}

/// Any files that there may be.
fn files(seeds: &[(u8, u8)]) -> Vec<String> {
    let file = |(suffix, form): &(u8, u8)| {
        let form = [Form::Plain, Form::Compressed, Form::Unfinished][usize::from(form % 3)];
        Rotated { suffix: &format!("20261126-0000{:02}", suffix % 12), form }.name(LOG)
    };
    seeds.iter().map(file).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The files after every step is done; compression brings `.gz`.
fn done(files: &[String], plan: &Plan) -> BTreeSet<String> {
    let mut left: BTreeSet<String> = files.iter().cloned().collect();
    for name in &plan.remove {
        assert!(left.remove(name), "{name} is not there");
    }
    left.extend(plan.rename_to.clone());
    for name in &plan.compress {
        assert!(left.remove(name), "{name} is not there any more");
        left.insert(format!("{name}.gz"));
    }
    left
}

fn contents(files: &BTreeSet<String>) -> BTreeSet<String> {
    let whole = files.iter().filter_map(|f| Rotated::of(LOG, f)).filter(|r| r.form != Form::Unfinished);
    whole.map(|r| r.suffix.to_owned()).collect()
}

#[test]
fn a_rotation_leaves_as_many_files_as_it_may_and_loses_only_the_oldest() {
    bolero::check!().with_type::<(Vec<(u8, u8)>, u8)>().for_each(|(seeds, most)| {
        let (files, most) = (files(seeds), usize::from(most % 8) + 2);
        let before = contents(&files.iter().cloned().collect());
        let plan = rotation(LOG, &files, most, NOW, &BTreeSet::new());
        let after = done(&files, &plan);
        assert!(after.len() < most, "with the log there are more than {most}: {after:?}");
        let kept = contents(&after);
        let newest: BTreeSet<String> = before.iter().rev().take(most - 2).cloned().collect();
        let renamed = plan.rename_to.clone().unwrap();
        assert!(!files.contains(&renamed));
        let own = Rotated::of(LOG, &renamed).unwrap().suffix.to_owned();
        assert!(before.iter().all(|suffix| *suffix < own));
        assert_eq!(kept, newest.into_iter().chain([own]).collect());
        let plain = after.iter().filter(|f| !f.ends_with(".gz")).collect::<Vec<_>>();
        assert_eq!(plain, [&renamed], "only the newest is not compressed");
    });
}

#[test]
fn a_rotation_that_is_cut_off_at_any_step_loses_nothing_that_the_next_one_would_keep() {
    bolero::check!().with_type::<(Vec<(u8, u8)>, u8, u8)>().for_each(|(seeds, most, steps)| {
        let (files, most) = (files(seeds), usize::from(most % 8) + 2);
        let before = contents(&files.iter().cloned().collect());
        let plan = rotation(LOG, &files, most, NOW, &BTreeSet::new());
        let mut left: BTreeSet<String> = files.iter().cloned().collect();
        for name in plan.remove.iter().take(usize::from(*steps)) {
            left.remove(name);
        }
        let kept = contents(&left);
        let newest: BTreeSet<String> = before.iter().rev().take(most - 2).cloned().collect();
        assert!(kept.is_superset(&newest), "{files:?} {plan:?} {left:?}");
        // The start after the kill: whatever is whole stays, as far as it may be kept.
        let left: Vec<String> = left.into_iter().collect();
        let after = contents(&done(&left, &recovery(LOG, &left, most, &BTreeSet::new())));
        assert_eq!(after, kept.iter().rev().take(most - 1).cloned().collect());
    });
}
