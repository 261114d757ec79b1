//! Writes the manual page and the completions of shells into a directory: `cargo run --example manual -- DIRECTORY`.
//! An example, so that the program itself carries nothing of it.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap_complete::{Shell, generate_to};
use clap_mangen::Man;

/// A list of all flags would be no help.
const SYNOPSIS: &str = r#".SH SYNOPSIS
\fBnodelet\fR [\fB\-\-config\fR \fIFILE\fR] [\fB\-\-kubeconfig\fR \fIFILE\fR] [\fIFLAG\fR...]
.br
\fBnodelet status\fR | \fBtop\fR | \fBpods\fR | \fBdoctor\fR [\fIFLAG\fR...]
.br
\fBnodelet logs\fR [\fB\-f\fR] [\fB\-c\fR \fINAME\fR] \fINAMESPACE/POD\fR
.br
\fBnodelet exec\fR [\fB\-it\fR] [\fB\-c\fR \fINAME\fR] \fINAMESPACE/POD\fR \fB\-\-\fR \fICOMMAND\fR
.br
\fBnodelet explain\fR \fINAMESPACE/POD\fR
.br
\fBnodelet join\fR \fIADDRESS\fR \fB\-\-token\fR \fITOKEN\fR \fB\-\-discovery\-token\-ca\-cert\-hash\fR \fIHASH\fR
.br
\fBnodelet leave\fR [\fB\-\-force\fR] [\fB\-\-pods\fR]
"#;

/// What no flag tells.
const MORE: &str = r#".SH "STATUS, TOP, PODS, LOGS, EXEC"
These ask the running daemon over a socket below its root directory, which only root can open, and need no API server. \fBstatus\fR shows the node on a page, \fBtop\fR
what its pods and containers use (\fBq\fR ends it, \fBc\fR, \fBm\fR, \fBn\fR and \fBr\fR sort, \fB/\fR filters), \fBpods\fR lists them, \fBlogs\fR prints what a container has written, and
\fBexec\fR runs a command in one and ends with its exit code. \fB\-\-root\-dir\fR \fIDIR\fR names the daemon's root directory; \fB\-\-help\fR after each of them has all flags.
.SH "DOCTOR"
\fBnodelet doctor\fR checks the machine, the container runtime and the configuration, and says what to do. It works with the daemon stopped as well; where it runs, its command
line says what is checked. It ends with 1 where something fails. \fB\-o json\fR is for programs.
.SH "EXPLAIN"
\fBnodelet explain\fR \fINAMESPACE/POD\fR tells why a pod of this node is in its present state, what it waits for, and what happened when.
\fB\-\-save\fR \fIFILE\fR keeps the recording, \fB\-\-replay\fR \fIFILE\fR tells one that was kept, \fB\-\-root\-dir\fR \fIDIR\fR names the daemon's root directory.
.SH "JOIN"
\fBnodelet join\fR \fIADDRESS\fR makes this machine a node of the cluster whose API server is there, in the manner of \fBkubeadm join\fR. It compares the cluster with the
token and the hash of its authority, takes the cluster's configuration over, starts the daemon, waits for the node's certificate, and removes the token. After an error the same
line may be given again; \fBnodelet join \-\-help\fR has all flags.
.SH "LEAVE"
\fBnodelet leave\fR evicts the node's pods, as their disruption budgets allow, stops and disables the daemon, and removes the node's credentials and what \fBjoin\fR has written.
\fB\-\-pods\fR ends all pods that are left, \fB\-\-force\fR evicts pods that nobody would make again and leaves although pods could not be evicted,
\fB\-\-kubeconfig\fR \fIFILE\fR names credentials that may remove the node from the cluster's list.
.SH "FILES"
.TP
\fI/etc/nodelet/config.d/50\-cluster.conf\fR, \fI/etc/nodelet/cluster.env\fR
What \fBnodelet join\fR has from the cluster.
.TP
\fI/etc/nodelet/config.yaml\fR, \fI/etc/nodelet/config.d/*.conf\fR
The configuration of nodelet.service, and what is merged over it.
.TP
\fI/etc/default/nodelet\fR
Further flags of nodelet.service.
.TP
\fI/etc/kubernetes/manifests\fR
Pods that run without an API server, in the default configuration.
.TP
\fI/var/lib/kubelet\fR
All state.
.TP
\fI/etc/systemd/logind.conf.d/99\-kubelet.conf\fR
Written where a shutdown has to wait longer for the pods than logind allows.
.SH "EXIT STATUS"
.TP
0
Ended by SIGTERM or SIGINT; the pods go on running.
.TP
1
It could not start, or a part of it broke.
.TP
2
A flag or the configuration is wrong; the message names file, line and field.
.SH "ENVIRONMENT"
\fBNOTIFY_SOCKET\fR, \fBWATCHDOG_USEC\fR and \fBJOURNAL_STREAM\fR as systemd sets them. The log goes to the journal with the fields POD, UID and CONTAINER where standard error
is connected to it.
.SH "SEE ALSO"
\fBsystemctl\fR(1), \fBjournalctl\fR(1), \fIhttps://kubernetes.io/docs/reference/command\-line\-tools\-reference/kubelet/\fR
"#;

fn main() -> ExitCode {
    let Some(dir) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("manual: which directory?");
        return ExitCode::from(2);
    };
    match write(&dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("manual: {}: {error}", dir.display());
            ExitCode::FAILURE
        }
    }
}

fn write(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let mut command = nodelet::flags::command();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command, "nodelet", dir)?;
    }
    let mut page = File::create(dir.join("nodelet.8"))?;
    let man = Man::new(command).section("8").manual("nodelet").source("nodelet");
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    page.write_all(SYNOPSIS.as_bytes())?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    page.write_all(MORE.as_bytes())?;
    page.sync_all()
}
