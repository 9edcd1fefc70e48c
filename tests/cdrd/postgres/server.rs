//! A real PostgreSQL, as Debian packs it, in a folder of its own.
//!
//! It runs below a shell that waits for the end of its standard input: when the tests
//! end, however they do, the server ends, and its folder is gone.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::harness::PATIENCE;
use crate::port::Port;

/// The server refuses to run as root; this user needs to own nothing else.
const UNPRIVILEGED: &str = "nobody";

/// `$1`: the data; `$2`: what is to be removed at the end, if anything. The rest: the
/// server with its arguments.
const BELOW: &str = r#"
data=$1 remove=$2
shift 2
trap : INT TERM HUP
"$@" >>"$data.log" 2>&1 &
server=$!
cat >/dev/null
# One that has only just begun does not hear the first. Until it is waited for, its number
# belongs to nobody else.
while read -r _ _ state _ <"/proc/$server/stat" && [ "$state" != Z ]; do
    kill -QUIT $server
    sleep 0.1
done 2>/dev/null
wait $server
[ -z "$remove" ] || rm -rf "$remove"
"#;

/// A server.
pub struct Server {
    port: Port,
    folder: PathBuf,
    remove: bool,
    settings: Vec<String>,
    /// A command that starts the server in surroundings of its own.
    around: Vec<String>,
    running: Option<Running>,
}

struct Running {
    below: Child,
    alive: Option<ChildStdin>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.alive = None;
        let _ = self.below.wait();
    }
}

/// The one that most tests share, each with a database of its own.
pub fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(|| {
        let mut server = Server::create();
        server.remove = true;
        server.start();
        server
    })
}

/// The folder of the programs.
pub fn programs() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        let mut found: Vec<PathBuf> =
            versions.map(|version| version.unwrap().path().join("bin")).collect();
        found.retain(|bin| bin.join("postgres").exists() && bin.join("initdb").exists());
        found.sort();
        found.pop().expect("no PostgreSQL in /usr/lib/postgresql; scripts/check installs it")
    })
}

/// A command as somebody whom the server runs for.
fn unprivileged(program: impl AsRef<std::ffi::OsStr>) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", UNPRIVILEGED, "--regid", "nogroup", "--clear-groups", "--"]);
    command.arg(program);
    command
}

impl Server {
    /// One with an empty folder of data, not started yet.
    pub fn create() -> Self {
        let folder = tempfile::Builder::new().prefix("cdrd-pg-").tempdir().unwrap().keep();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
        let made = unprivileged(programs().join("initdb"))
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(folder.join("data"))
            .current_dir("/")
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let rules = folder.join("data/pg_hba.conf");
        let usual = std::fs::read_to_string(&rules).unwrap();
        // Members of this role, which need not be there, have passwords.
        let rule = "host all +guarded 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(&rules, format!("{rule}{usual}")).unwrap();
        let (settings, around) = (Vec::new(), Vec::new());
        Self { port: Port::reserve(), folder, remove: false, settings, around, running: None }
    }

    /// One more setting, from the next start on.
    pub fn set(&mut self, setting: impl Into<String>) {
        self.settings.extend(["-c".to_owned(), setting.into()]);
    }

    /// A file that only the server's user may read.
    pub fn private_file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        self.give(&path);
        path
    }

    /// An empty folder of the server's user, with a file system of so many MiB in it
    /// that only the server sees; `None` if that is not allowed here.
    pub fn small_disk(&mut self, mib: u32) -> Option<PathBuf> {
        let may = ["-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"];
        let may = Command::new("unshare").args(may).stderr(Stdio::null()).status();
        if !may.is_ok_and(|status| status.success()) {
            return None;
        }
        let folder = self.folder.join("small");
        std::fs::create_dir(&folder).unwrap();
        self.give(&folder);
        let owner = std::fs::metadata(&folder).unwrap().uid();
        let mount = format!("mount -t tmpfs -o size={mib}m,mode=700,uid={owner} tmpfs {folder:?}");
        let script = format!("{mount} && exec \"$@\"");
        self.around = ["unshare", "-m", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec();
        Some(folder)
    }

    /// Makes it the server's own.
    fn give(&self, path: &Path) {
        let data = std::fs::metadata(self.data()).unwrap();
        std::os::unix::fs::chown(path, Some(data.uid()), Some(data.gid())).unwrap();
    }

    /// One that runs.
    pub fn new() -> Self {
        let mut server = Self::create();
        server.start();
        server
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub fn port(&self) -> u16 {
        self.port.address.port()
    }

    /// Starts it, and waits until it answers.
    pub fn start(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.running = None;
            self.spawn();
            while self.is_starting() && Instant::now() < deadline {
                if self.ask("postgres", "select 1").is_ok() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            // After kill -9 its last processes may still have to notice.
            assert!(Instant::now() < deadline, "it never starts: {}", self.log());
        }
    }

    fn spawn(&mut self) {
        let _ = std::fs::remove_file(self.data().join("postmaster.pid"));
        let before = self.log().len();
        let server = unprivileged(programs().join("postgres"));
        let mut below = Command::new("/bin/sh")
            .args(["-c", BELOW, "below"])
            .arg(self.data())
            .arg(if self.remove { self.folder.as_os_str() } else { "".as_ref() })
            .args(&self.around)
            .arg(server.get_program())
            .args(server.get_args())
            .arg("-D")
            .arg(self.data())
            // Nothing here is about power failures.
            .args(["-F", "-h", "127.0.0.1", "-k", &self.folder.to_string_lossy()])
            .args(["-p", &self.port().to_string(), "-c", "max_connections=60"])
            .args(&self.settings)
            .current_dir("/")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let alive = below.stdin.take();
        self.running = Some(Running { below, alive });
        let deadline = Instant::now() + PATIENCE;
        while self.pid().is_none() && Instant::now() < deadline {
            // Processes of one that was killed are still there.
            if self.log()[before..].contains("shared memory block") {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("data.log")).unwrap_or_default()
    }

    fn is_starting(&self) -> bool {
        self.pid().is_some()
    }

    fn pid(&self) -> Option<u32> {
        let file = std::fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        let pid = file.lines().next()?.parse().ok()?;
        Path::new(&format!("/proc/{pid}")).exists().then_some(pid)
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        let pid = self.pid().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        self.running = None;
    }

    /// Ends it in order.
    pub fn stop(&mut self) {
        let pid = self.pid().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let deadline = Instant::now() + PATIENCE;
        while self.pid().is_some() {
            assert!(Instant::now() < deadline, "it never stops");
            std::thread::sleep(Duration::from_millis(10));
        }
        self.running = None;
    }

    /// What psql says, as the superuser: rows of fields parted by `|`.
    pub fn ask(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut psql = Command::new(programs().join("psql"))
            .args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres"])
            .args(["-p", &self.port().to_string(), "-d", database, "-f", "-"])
            .env("PGCONNECT_TIMEOUT", "10")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // If it cannot connect, it does not read; what it says then is the result.
        let _ = psql.stdin.take().unwrap().write_all(sql.as_bytes());
        let output = psql.wait_with_output().unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// A new database that belongs to a new role of the same name.
    pub fn database(&self) -> Database<'_> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("calls_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.ask("postgres", &format!("create role {name} login")).unwrap();
        self.ask("postgres", &format!("create database {name} owner {name}")).unwrap();
        Database { server: self, name }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running = None;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A database.
pub struct Database<'s> {
    pub server: &'s Server,
    pub name: String,
}

impl Database<'_> {
    /// A table `[sink.subject]` that writes there, with more keys.
    pub fn sink(&self, more: &str) -> String {
        format!(
            "[sink.subject]\ntype = \"postgres\"\nurl = {:?}\n\
             retry = {{ initial = \"10ms\", max = \"100ms\" }}\n{more}",
            self.url()
        )
    }

    /// Makes the tables as the sink's role, by what `cdrd sink init` prints.
    pub fn make_tables(&self) {
        let sql = super::print_sql(&super::config(&self.sink("")), &[]);
        self.ask(&format!("set role {};\n{sql}", self.name));
    }

    /// Calls in the table.
    pub fn calls(&self) -> usize {
        let rows = self.server.ask(&self.name, "select count(*) from cdr");
        rows.map_or(0, |rows| rows.trim().parse().unwrap())
    }

    pub fn url(&self) -> String {
        format!("postgres://{0}@127.0.0.1:{1}/{0}", self.name, self.server.port())
    }

    /// What psql says; fails the test if it is an error.
    #[track_caller]
    pub fn ask(&self, sql: &str) -> String {
        self.server.ask(&self.name, sql).unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// Nobody can connect, nobody is connected.
    pub fn shut(&self) {
        self.server
            .ask(
                "postgres",
                &format!(
                    "alter database {0} allow_connections false;\n\
                     select pg_terminate_backend(pid) from pg_stat_activity where datname = '{0}'",
                    self.name
                ),
            )
            .unwrap();
    }

    pub fn open(&self) {
        let sql = format!("alter database {} allow_connections true", self.name);
        self.server.ask("postgres", &sql).unwrap();
    }
}
