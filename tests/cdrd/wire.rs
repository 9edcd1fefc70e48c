//! A piece of network between two programs that can be cut and joined again.
//!
//! On threads of its own, so that it is cut at once, whatever a test's runtime does.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Leads to one address at a time.
pub struct Wire {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    target: SocketAddr,
    is_cut: bool,
    ends: Vec<TcpStream>,
}

impl Wire {
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { target, is_cut: false, ends: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::downgrade(&state);
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let Some(state) = shared.upgrade() else { return };
                if let Ok(near) = near {
                    join(&state, near);
                }
            }
        });
        Self { address, state }
    }

    /// Ends every connection; new ones end at once.
    pub fn cut(&self) {
        let mut state = self.state.lock().unwrap();
        state.is_cut = true;
        for end in state.ends.drain(..) {
            // It may be gone already.
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// New connections go elsewhere.
    #[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "for Kafka's tests alone"))]
    pub fn lead_to(&self, target: SocketAddr) {
        self.state.lock().unwrap().target = target;
    }

    pub fn mend(&self) {
        self.state.lock().unwrap().is_cut = false;
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.cut();
    }
}

fn join(state: &Mutex<State>, near: TcpStream) {
    let mut state = state.lock().unwrap();
    if state.is_cut {
        return;
    }
    let Ok(far) = TcpStream::connect(state.target) else { return };
    for (mut from, mut to) in [
        (near.try_clone().unwrap(), far.try_clone().unwrap()),
        (far.try_clone().unwrap(), near.try_clone().unwrap()),
    ] {
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                if to.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        });
    }
    state.ends.extend([near, far]);
}
