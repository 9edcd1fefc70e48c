//! One child process with its pipes, its group and its end. Nothing of it stays:
//! neither a process of its group nor a zombie.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::{Settings, log};
use crate::event::Stored;
use crate::sink::lines::{Broken, Confirm, Judged, LineSettings, Talk};

/// What a child sees of the daemon's environment: what programs need to find others
/// and to speak the right language. The rest may hold the daemon's own secrets.
const INHERITED: &[&str] = &["PATH", "HOME", "LANG", "TZ"];
/// First and longest wait between two looks at how much of a pipe is read: the
/// kernel tells nobody when a pipe becomes empty.
const LOOKS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));
/// How long a killed process may take to be gone; one that hangs in the kernel, as
/// on a dead network disk, cannot be waited for.
const AFTER_KILL: Duration = Duration::from_secs(5);
/// How long the last lines on standard error may take after the end.
const LAST_LINES: Duration = Duration::from_secs(1);

/// A running child.
#[derive(Debug)]
pub struct Process {
    // First, so that on a drop the group is killed before the pipes close.
    group: Group,
    /// What is said to it and what it answers.
    pub talk: Talk<ChildStdin, ChildStdout>,
    /// Waits for its end, and reads its standard error.
    tasks: JoinSet<()>,
}

impl Process {
    /// Starts it.
    pub fn start(settings: &Settings) -> Result<Self, String> {
        let lines = &settings.lines;
        let mut child = command(settings).spawn().map_err(|e| cannot_start(settings, &e))?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let group = id.expect("a child that nobody has waited for has an id");
        let stdin = child.stdin.take().expect("standard input is a pipe");
        let stderr = child.stderr.take().expect("standard error is a pipe");
        let talk = Talk::new(lines, stdin, child.stdout.take());
        info!(sink = %lines.sink, pid = group.as_raw_nonzero(), "command started");
        let (tell, ended) = watch::channel(None);
        let mut tasks = JoinSet::new();
        tasks.spawn(log::copy(lines.sink.clone(), stderr));
        tasks.spawn(watch_over(child, group, tell));
        let group = Group { sink: lines.sink.clone(), id: group, ended };
        Ok(Self { group, talk, tasks })
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.group.ended.borrow().is_some()
    }

    /// How it ended.
    pub fn end_in_words(&self) -> String {
        match *self.group.ended.borrow() {
            Some(status) => words(status),
            None => "was killed and does not end; does it wait for a dead disk?".to_owned(),
        }
    }

    /// Sends events and waits for a judgement of the first. `None` is its end.
    pub async fn confirm(
        &mut self,
        settings: &LineSettings,
        events: &[&Stored],
        judged: &mut Judged,
    ) -> Result<(), Option<Broken>> {
        tokio::select! {
            biased;
            told = self.talk.confirm(settings, events, judged) => told.map_err(Some),
            () = self.group.ended() => Err(None),
        }
    }

    /// Sends events and waits until it has read them. `None` is its end.
    pub async fn send(
        &mut self,
        settings: &LineSettings,
        events: &[&Stored],
    ) -> Result<(), Option<Broken>> {
        let sent = async {
            self.talk.send(settings, events).await?;
            until_read(&self.talk, settings.timeout).await
        };
        tokio::select! {
            biased;
            sent = sent => sent.map_err(Some),
            () = self.group.ended() => Err(None),
        }
    }

    /// How many events of those that were sent last it has read, now that it has ended.
    pub fn events_read(&self) -> usize {
        // What cannot be found out was not read: then it comes twice, if at all.
        self.talk.read_but(unread(&self.talk).unwrap_or(usize::MAX))
    }

    /// Whether it ends by itself within a time.
    pub async fn ended_within(&mut self, limit: Duration) -> bool {
        timeout(limit, self.group.ended()).await.is_ok()
    }

    /// Asks it to end, waits, and kills what is left.
    pub async fn terminate(&mut self, patience: Duration) {
        self.group.signal(Signal::TERM);
        if !self.ended_within(patience).await {
            self.group.signal(Signal::KILL);
            self.ended_within(AFTER_KILL).await;
        }
    }

    /// Closes its standard input and lets it finish: for half of the time by itself,
    /// for the other half after SIGTERM; what is left is killed.
    pub async fn stop(self, patience: Duration) {
        let Self { mut group, talk, mut tasks } = self;
        let (stdin, stdout) = talk.into_parts();
        drop(stdin);
        let ended = async {
            let (term, kill) = (sleep(patience / 2), sleep(patience));
            tokio::pin!(term, kill);
            let mut asked = false;
            loop {
                tokio::select! {
                    () = group.ended() => return true,
                    () = &mut term, if !asked => {
                        asked = true;
                        group.signal(Signal::TERM);
                    }
                    () = &mut kill => return false,
                }
            }
        };
        let spoken = async {
            // A child that is busy talking cannot end.
            if let Some(mut stdout) = stdout {
                while let Ok(Some(_)) = stdout.line().await {}
            }
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = ended => ended,
            () = spoken => true,
        };
        if !ended {
            warn!(sink = %group.sink, pid = group.id.as_raw_nonzero(), "command did not end in time and is killed");
            group.signal(Signal::KILL);
            let _ = timeout(AFTER_KILL, group.ended()).await;
        }
        join(&mut tasks).await;
    }

    /// Lets go of one that has ended; its last lines still go to the log.
    pub async fn leave(mut self) {
        join(&mut self.tasks).await;
    }
}

/// Waits for the tasks a little; what is left of them is aborted with the set.
async fn join(tasks: &mut JoinSet<()>) {
    let all = async { while tasks.join_next().await.is_some() {} };
    if timeout(LAST_LINES, all).await.is_err() {
        debug!("something outside of its process group holds a command's standard error open");
    }
}

/// All processes that the child has started and that did not leave on purpose.
#[derive(Debug)]
struct Group {
    sink: Arc<str>,
    id: Pid,
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl Group {
    /// Resolves when the child has ended, by then with its whole group. Cancel-safe.
    async fn ended(&mut self) {
        if self.ended.wait_for(Option::is_some).await.is_err() {
            // Its watch was aborted, which happens with this value only.
            std::future::pending::<()>().await;
        }
    }

    fn signal(&self, signal: Signal) {
        if self.ended.borrow().is_none() {
            send(self.id, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

fn send(group: Pid, signal: Signal) {
    // It may have ended a moment ago.
    let _ = kill_process_group(group, signal);
}

/// Waits for the end of the child, which leaves no zombie, and ends its group with it.
async fn watch_over(mut child: Child, group: Pid, tell: watch::Sender<Option<ExitStatus>>) {
    match child.wait().await {
        Ok(status) => {
            // The number of a group is not given away while a process is in it, and
            // not within microseconds after.
            send(group, Signal::KILL);
            tell.send_replace(Some(status));
        }
        Err(e) => {
            warn!(error = %e, "the end of a command cannot be waited for; it is killed");
            send(group, Signal::KILL);
            tell.send_replace(Some(ExitStatus::default()));
        }
    }
}

fn command(settings: &Settings) -> Command {
    let mut command = Command::new(settings.program());
    command.args(settings.command.iter().skip(1)).env_clear();
    for name in INHERITED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.envs(settings.env.iter().map(|(name, value)| (name, value.reveal())));
    if let Some(directory) = &settings.directory {
        command.current_dir(directory);
    }
    let answers = match settings.lines.confirm {
        Confirm::Line => Stdio::piped(),
        Confirm::Write => Stdio::null(),
    };
    command.stdin(Stdio::piped()).stdout(answers).stderr(Stdio::piped());
    // A signal to the daemon's group, such as Ctrl-C, must not end it before its time.
    command.process_group(0).kill_on_drop(true);
    command
}

fn cannot_start(settings: &Settings, error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    let missing = settings.directory.as_ref().filter(|directory| !directory.is_dir());
    let advice = match error.kind() {
        _ if missing.is_some() => "its \"directory\" is not there".to_owned(),
        ErrorKind::NotFound => {
            "install it, or correct \"command\"; in a script, look at the first line, too"
                .to_owned()
        }
        ErrorKind::PermissionDenied => "make it executable for the user that runs cdrd".to_owned(),
        _ => "try it by hand as the user that runs cdrd".to_owned(),
    };
    format!("command {} cannot be started: {error}; {advice}", settings.program())
}

/// "ended with exit status 3", "was ended by signal 9 (SIGKILL)".
fn words(status: ExitStatus) -> String {
    match status.code() {
        Some(code @ (126 | 127)) => {
            format!(
                "ended with exit status {code}, which a shell gives for a program that it cannot run"
            )
        }
        Some(code) => format!("ended with exit status {code}"),
        None => format!("was ended by {}", status.to_string().replacen("signal: ", "signal ", 1)),
    }
}

/// Waits until the child has read everything.
async fn until_read(
    talk: &Talk<ChildStdin, ChildStdout>,
    patience: Duration,
) -> Result<(), Broken> {
    let (mut least, mut pause) = (usize::MAX, LOOKS.0);
    let mut deadline = Instant::now() + patience;
    loop {
        let unread = unread(talk)?;
        if unread == 0 {
            return Ok(());
        }
        if unread < least {
            (least, pause) = (unread, LOOKS.0);
            deadline = Instant::now() + patience;
        } else if Instant::now() >= deadline {
            return Err(Broken::Silent);
        }
        sleep(pause).await;
        pause = (pause * 2).min(LOOKS.1);
    }
}

/// Bytes in the pipe that the child has not read; they stay there after its end.
#[cfg(target_os = "linux")]
fn unread(talk: &Talk<ChildStdin, ChildStdout>) -> std::io::Result<usize> {
    let unread = rustix::io::ioctl_fionread(talk.to())?;
    Ok(usize::try_from(unread).unwrap_or(usize::MAX))
}

/// Elsewhere the writing end of a pipe does not know.
#[cfg(not(target_os = "linux"))]
fn unread(_: &Talk<ChildStdin, ChildStdout>) -> std::io::Result<usize> {
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn an_end_is_told_in_words() {
        assert_eq!(words(ExitStatus::from_raw(0)), "ended with exit status 0");
        assert_eq!(words(ExitStatus::from_raw(3 << 8)), "ended with exit status 3");
        assert_eq!(words(ExitStatus::from_raw(9)), "was ended by signal 9 (SIGKILL)");
        assert!(words(ExitStatus::from_raw(127 << 8)).contains("cannot run"));
    }
}
