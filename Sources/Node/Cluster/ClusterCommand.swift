internal import NodeCore
internal import CEpoll
internal import Glibc
internal import Gossip

/// `hypha cluster`: starts one process for each node, forwards their logs, says when all see each other, and ends them.
/// Returns the exit code.
func runCluster(_ options: ClusterOptions, executable: String = "/proc/self/exe") throws(Problem) -> Int32 {
    if let complaint = takenPorts(options) {
        complain(complaint)
        return 1
    }
    var cluster = try LocalCluster(options, executable: executable)
    return cluster.run()
}

/// The processes of `hypha cluster` and how far they have come.
private struct LocalCluster {
    private enum Phase {
        /// Not all nodes see each other yet.
        case starting
        /// The ready line is out.
        case running
        /// All were told to end; the exit code when they have.
        case ending(Int32)
    }

    private let options: ClusterOptions
    private let signals: Int32
    private var children: [ChildProcess] = []
    private var phase = Phase.starting
    /// The end of the patience for the phase: to get ready, or to end.
    private var deadline: Deadline
    /// When to ask the nodes again whether they are ready: not with every line that they log.
    private var nextCheck = Deadline(milliseconds: 0)
    private let isColoured: Bool
    /// A cluster that is not ready by then never will be.
    private static let startMs = 60_000
    /// What `hypha serve` needs to leave the cluster in good order, and to spare.
    private static let endMs = 5_000
    private static let checkMs = 100

    init(_ options: ClusterOptions, executable: String) throws(Problem) {
        self.options = options
        deadline = Deadline(milliseconds: Self.startMs)
        isColoured = isatty(STDERR_FILENO) == 1 && getenv("NO_COLOR") == nil
        var mask = sigset_t()
        sigemptyset(&mask)
        for number in [SIGINT, SIGTERM, SIGHUP, SIGCHLD] { sigaddset(&mask, number) }
        sigprocmask(SIG_BLOCK, &mask, nil)
        signals = signalfd(-1, &mask, Int32(SFD_CLOEXEC) | Int32(SFD_NONBLOCK))
        guard signals >= 0 else { throw Problem(reason: "cannot watch for signals: \(systemMessage(errno))") }
        for index in 0..<options.nodes {
            // If this throws, the lifelines of the children before it end with this process, and they with those.
            children.append(
                try ChildProcess(
                    name: options.name(index), executable: executable, arguments: options.arguments(index)))
        }
    }

    /// Turns until every child has ended.
    mutating func run() -> Int32 {
        while true {
            waitForSomething()
            readSignals()
            forwardLines()
            noticeEnds()
            switch phase {
            case .starting:
                if nextCheck.remainingMs == 0 { checkReadiness() }
            case .running: break
            case .ending:
                if deadline.remainingMs == 0 { for child in children { child.signal(SIGKILL) } }
            }
            if children.allSatisfy({ !$0.isRunning && $0.output < 0 }) {
                if case .ending(let code) = phase { return code }
                announce("no node is left")
                return 1
            }
        }
    }

    private func waitForSomething() {
        var entries = [pollfd(fd: signals, events: Int16(POLLIN), revents: 0)]
        for child in children where child.output >= 0 {
            entries.append(pollfd(fd: child.output, events: Int16(POLLIN), revents: 0))
        }
        let timeout =
            switch phase {
            case .starting: Int32(clamping: max(1, nextCheck.remainingMs))
            case .running: Int32(-1)
            case .ending: Int32(clamping: max(10, deadline.remainingMs))
            }
        poll(&entries, nfds_t(entries.count), timeout)
    }

    private mutating func readSignals() {
        var info = signalfd_siginfo()
        while read(signals, &info, MemoryLayout<signalfd_siginfo>.size) == MemoryLayout<signalfd_siginfo>.size {
            guard info.ssi_signo != UInt32(SIGCHLD) else { continue }
            if case .ending = phase {
                announce("ending the nodes at once")
                for child in children { child.signal(SIGKILL) }
            } else {
                announce("ending the nodes; once more ends them at once")
                end(code: 0)
            }
        }
    }

    private mutating func end(code: Int32) {
        phase = .ending(code)
        deadline = Deadline(milliseconds: Self.endMs)
        for child in children { child.signal(SIGTERM) }
    }

    private mutating func forwardLines() {
        for index in children.indices {
            let prefix = self.prefix(children[index].name, colour: index)
            children[index].readLines { line in writeAll(prefix + line + [0x0a], to: STDERR_FILENO) }
        }
    }

    private mutating func noticeEnds() {
        for index in children.indices where children[index].reap() {
            forwardLines()  // its last words stand above the news of its end
            let child = children[index]
            let end = child.end.map(\.description) ?? ""
            switch phase {
            case .starting:
                announce("\(child.name) \(end) before the cluster was ready; its lines above say why")
                if let complaint = takenPorts(options, besides: children) { announce(complaint) }
                self.end(code: 1)
            case .running:
                let others = children.count { $0.isRunning }
                announce("\(child.name) \(end); \(others) of \(children.count) nodes go on")
                let command = options.arguments(index).filter { $0 != "--exit-with-stdin" }.joined(separator: " ")
                if others > 0 { announce("start it again with: \(programName) \(command)") }
            case .ending: break
            }
        }
    }

    private mutating func checkReadiness() {
        nextCheck = Deadline(milliseconds: Self.checkMs)
        var waiting: [String] = []
        for index in children.indices {
            if let reason = unreadiness(index) { waiting.append("\(children[index].name) (\(reason))") }
        }
        if waiting.isEmpty {
            phase = .running
            sayReady()
        } else if deadline.remainingMs == 0 {
            announce("not ready after \(Self.startMs / 1_000) s: \(waiting.joined(separator: ", "))")
            end(code: 1)
        }
    }

    /// Why a node is not ready yet; nil if it is well and reaches all.
    private func unreadiness(_ index: Int) -> String? {
        var client = HTTPClient(options.url(index))
        client.connectMs = 200
        client.answerMs = 500
        do throws(ClientError) {
            let health = try client.ask("GET", "/health")
            guard health.status == 200 else { return "/health answers \(health.status)" }
            let (cluster, _) = try client.json("GET", "/api/cluster")
            let reachable = cluster["reachable"]?.plain ?? "unknown"
            return reachable == "\(options.nodes)" ? nil : "it reaches \(reachable) of \(options.nodes)"
        } catch {
            return "it does not answer"
        }
    }

    private func sayReady() {
        let urls = (0..<options.nodes).map { options.url($0).description }
        let node = { (index: Int) in urls[index] == "\(NodeURL.standard)" ? "" : " --node \(urls[index])" }
        say(
            """
            ready: \(urls.joined(separator: " "))
            try, in another terminal:
              \(programName) watch\(node(options.nodes - 1))
              \(programName) emit\(node(0)) --type reward --scope ui.login --agent ada --pattern fast --value 0.5
              \(programName) signals\(node(options.nodes / 2))

            """)
    }

    private func announce(_ text: String) {
        writeAll(prefix("cluster", colour: nil) + Array("\(text)\n".utf8), to: STDERR_FILENO)
    }

    private func prefix(_ name: String, colour: Int?) -> [UInt8] {
        let width = max(7, options.name(options.nodes - 1).count)
        let text = padded(name, width)
        guard isColoured else { return Array("\(text) | ".utf8) }
        let colours = [36, 33, 32, 35, 34, 31]
        let code = colour.map { "\(colours[$0 % colours.count])" } ?? "1"
        return Array("\u{1b}[\(code)m\(text) |\u{1b}[0m ".utf8)
    }
}

/// Which ports somebody else holds, and a choice that is free; nil if none is taken. Ports of our own running children
/// do not count.
private func takenPorts(_ options: ClusterOptions, besides children: [ChildProcess] = []) -> String? {
    var taken: [String] = []
    for index in 0..<options.nodes where children.isEmpty || !children[index].isRunning {
        let (http, gossip) = (UInt16(options.httpPort + index), UInt16(options.gossipPort + index))
        let name = options.name(index)
        if !isFree(http, kind: SOCK_STREAM) { taken.append("port \(http) (clients of \(name)) is in use") }
        if !isFree(gossip, kind: SOCK_STREAM) || !isFree(gossip, kind: SOCK_DGRAM) {
            taken.append("port \(gossip) (peers of \(name)) is in use")
        }
    }
    guard !taken.isEmpty else { return nil }
    return "\(taken.joined(separator: ", ")); \(freePorts(options))"
}

/// The flags that move the cluster to ports which nobody holds now.
private func freePorts(_ options: ClusterOptions) -> String {
    for step in 1...50 {
        var moved = options
        moved.httpPort = (options.httpPort + step * 100 - 1_024) % 60_000 + 1_024
        moved.gossipPort = (options.gossipPort + step * 100 - 1_024) % 60_000 + 1_024
        let isFine =
            (try? moved.check()) != nil
            && (0..<options.nodes).allSatisfy { index in
                isFree(UInt16(moved.httpPort + index), kind: SOCK_STREAM)
                    && isFree(UInt16(moved.gossipPort + index), kind: SOCK_STREAM)
                    && isFree(UInt16(moved.gossipPort + index), kind: SOCK_DGRAM)
            }
        if isFine {
            return "choose others, for example --http-port \(moved.httpPort) --gossip-port \(moved.gossipPort)"
        }
    }
    return "choose others with --http-port and --gossip-port (`ss -lnp` shows what listens)"
}

/// Whether a server could listen on a port of this machine now.
private func isFree(_ port: UInt16, kind: __socket_type) -> Bool {
    let descriptor = socket(AF_INET, Int32(kind.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    if kind == SOCK_STREAM {  // as servers do: connections that wait for their end do not count
        var one: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, 4)
    }
    return withSocketAddress(Address(ipv4: 0x7f00_0001, port: port)) { bind(descriptor, $0, $1) } == 0
}
