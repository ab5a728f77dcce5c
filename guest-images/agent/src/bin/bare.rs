//! The least that can be `/init`: says one line on the console, and stays. What the agent's start is held against.

fn main() {
    #[allow(clippy::print_stdout)]
    {
        println!("{} {}", protocol::MARK, protocol::BARE);
    }
    loop {
        std::thread::park();
    }
}
