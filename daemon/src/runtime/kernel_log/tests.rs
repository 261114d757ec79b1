use super::*;

const ID: &str = "98bac6c4b73cfd4c647647aa80248208b67de059874d4ddfdd1aa43ea3967e54";
const OTHER: &str = "1111111111111111111111111111111111111111111111111111111111111111";

fn oom(cgroup: &str) -> String {
    format!(
        "6,1520,92711,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=c,mems_allowed=0,oom_memcg=/kubepods.slice,\
         task_memcg={cgroup},task=sh,pid=71,uid=0\n SUBSYSTEM=x\n"
    )
}

#[test]
fn the_victims_container_is_found_below_either_drivers_cgroups() {
    let slice = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice";
    for cgroup in [
        format!("{slice}/cri-containerd-{ID}.scope"),
        format!("{slice}/crio-{ID}.scope/of-its-own/making"),
        format!("/kubepods/burstable/pod1-2/{ID}"),
    ] {
        assert_eq!(killed_container(oom(&cgroup).as_bytes()), Some(ID), "{cgroup}");
    }
    for cgroup in ["/", "/system.slice/cron.service", "/kubepods/burstable/pod1-2/98bac6"] {
        assert_eq!(killed_container(oom(cgroup).as_bytes()), None, "{cgroup}");
    }
}

#[test]
fn a_record_that_a_process_wrote_kills_nobody() {
    let record = oom(&format!("/kubepods/pod1/{ID}"));
    for written in [record.replacen("6,", "14,", 1), record.replacen("oom-kill", "x oom-kill", 1)] {
        assert_eq!(killed_container(written.as_bytes()), None, "{written}");
    }
}

#[test]
fn process_cgroups_and_pod_are_read_whatever_the_process_calls_itself() {
    let slice = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice";
    let cgroup = format!("{slice}/cri-containerd-{ID}.scope");
    let record = oom(&cgroup).replace("task=sh,", "task=a,pid=1,uid=2,task=b,");
    let kill = OomKill::of(record.as_bytes()).unwrap();
    assert_eq!((kill.process, kill.pid, kill.victim), ("a,pid=1,uid=2,task=b", 71, cgroup.as_str()));
    assert_eq!((kill.limit, kill.pod_uid().as_deref()), (Some("/kubepods.slice"), Some("12")));

    let global = record.replace("oom_memcg=/kubepods.slice", "global_oom");
    assert_eq!(OomKill::of(global.as_bytes()).unwrap().limit, None);
    for (cgroup, uid) in [
        ("/kubepods/besteffort/pod1-2-3/x", Some("123")),
        ("/kubepods/pod1-2", Some("12")),
        ("/kubepods.slice/kubepods-pod1_2.slice", Some("12")),
        ("/kubepods.slice/kubepods-burstable.slice", None),
        ("/system.slice/tripods.service", None),
        ("/", None),
    ] {
        let record = oom(cgroup);
        assert_eq!(OomKill::of(record.as_bytes()).unwrap().pod_uid().as_deref(), uid, "{cgroup}");
    }
}

#[test]
fn any_record_is_read_without_a_panic() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let _ = OomKill::of(bytes).map(|kill| kill.pod_uid());
        killed_container(bytes);
        killed_container(&[oom("/").as_bytes(), bytes].concat());
    });
}

#[test]
fn a_kill_is_known_that_came_after_the_last_question() {
    let dir = tempfile::tempdir().unwrap();
    // Reads of a file are not cut at its records as those of the log are: one record before each question.
    let path = dir.path().join("kmsg");
    let log = KernelLog::new(&path);
    assert!(!log.has_killed(ID), "there is no log");
    std::fs::write(&path, oom(&format!("/kubepods/pod1/{ID}"))).unwrap();
    assert!(log.has_killed(ID) && !log.has_killed(OTHER));
    let mut more = OpenOptions::new().append(true).open(&path).unwrap();
    io::Write::write_all(&mut more, oom(&format!("/kubepods/pod1/{OTHER}")).as_bytes()).unwrap();
    assert!(log.has_killed(ID) && log.has_killed(OTHER));
}
