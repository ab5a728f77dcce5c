//! Stands between the harness and the agent of a guest: calls there, words back, or something else.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use protocol::{Answer, Call, Hello, Reply, Request, Word};

use super::{Fault, PROBES, UNDER_WAY, die_of_int3, murder, stay};

/// Longer than a guest may be silent that has spoken, and shorter than it may take to speak first.
const LATE: Duration = Duration::from_secs(75);

/// Hands the agent's words on to the harness, of which the first is its hello.
pub(super) fn agents_words(fault: Fault, agent: UnixStream, mut harness: UnixStream) -> io::Result<()> {
    let mut words = BufReader::new(agent);
    match fault {
        Fault::AgentMute => drop(io::copy(&mut words, &mut io::sink())?),
        Fault::AgentHalfHello => {
            io::copy(&mut words.by_ref().take(20), &mut harness)?;
            io::copy(&mut words, &mut io::sink())?;
        }
        Fault::AgentLate => thread::sleep(LATE),
        Fault::AgentOfOtherVersion => {
            if let Some((Word::Hello(hello), _)) = protocol::read_word(&mut words)? {
                let hello = Hello { version: hello.version + 1, ..hello };
                protocol::write_line(&mut harness, &Word::Hello(hello), &[])?;
            }
        }
        _ => {}
    }
    io::copy(&mut words, &mut harness).map(drop)
}

/// Hands the harness's calls on to the agent, up to the one at which something goes wrong.
pub(super) fn agents_calls(
    fault: Fault,
    qemu: Pid,
    harness: UnixStream,
    mut agent: UnixStream,
) -> io::Result<()> {
    let mut calls = BufReader::new(harness.try_clone()?);
    while let Some(call) = protocol::read_line::<Call>(&mut calls)? {
        let loads =
            |module: &str| matches!(&call.request, Request::LoadModule { name, .. } if name == module);
        let writes = |part: &str| matches!(&call.request, Request::Set { path, .. } if path.contains(part));
        match fault {
            Fault::KilledAtCall(what) if loads(what) || writes(what) => {
                protocol::write_line(&mut agent, &call, &[])?;
                // A write may be done by then.
                if loads(what) {
                    thread::sleep(UNDER_WAY);
                }
                murder(qemu, Signal::SIGKILL);
            }
            Fault::Int3AtCall(what, byte) if loads(what) || writes(what) => {
                die_of_int3(byte)?;
                stay();
            }
            _ if loads(PROBES) && misspeak(fault, call.id, &harness)? => {}
            _ => protocol::write_line(&mut agent, &call, &[])?,
        }
    }
    Ok(())
}

/// Answers a call in place of the agent, wrongly; whether it is a fault of this kind. Then nothing more is said.
fn misspeak(fault: Fault, id: u64, mut harness: &UnixStream) -> io::Result<bool> {
    let reply = |id: u64, len: u64| Word::Reply(Reply { id, result: Ok(Answer::Bytes { len }) });
    let far = id + 1000;
    match fault {
        Fault::AgentRubbish => harness.write_all(b"[    9.1] sd 0:0:0:0: a line of another world\n")?,
        Fault::AgentHalf => harness.write_all(b"{\"reply\":{\"id\":")?,
        Fault::AgentStalls => {}
        Fault::AgentOutOfTurn => protocol::write_line(&mut harness, &reply(far, 2), b"hi")?,
        Fault::AgentFlood => {
            let body = vec![b'x'; 64 << 20];
            for id in far.. {
                protocol::write_line(&mut harness, &reply(id, 64 << 20), &body)?;
            }
        }
        Fault::AgentTerabyte => {
            protocol::write_line(&mut harness, &reply(id, 1 << 40), &[])?;
            io::copy(&mut io::repeat(b'x'), &mut harness)?;
        }
        Fault::AgentEndlessLine => drop(io::copy(&mut io::repeat(b'x'), &mut harness)?),
        _ => return Ok(false),
    }
    stay()
}
