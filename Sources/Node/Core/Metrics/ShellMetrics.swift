/// What the shell measures about itself, as clocks and sockets are its business: for `/health` and `/metrics`.
public struct ShellMetrics: Sendable {
    /// The event loop.
    public var loop = LoopMetrics()
    /// Clients' connections.
    public var clients = ClientMetrics()
    /// Peers' connections.
    public var links = LinkMetrics()
    /// The socket for datagrams.
    public var datagrams = DatagramMetrics()
    /// What the disk does; nil for a node in memory.
    public var disk: DiskHealth?

    /// Nothing measured yet.
    public init() {}

    /// What the system refused: sends to clients, links, and datagrams.
    var networkErrors: Int { clients.sendErrors + links.errors + datagrams.dropped + datagrams.errors }
}

/// The event loop, since the start unless said otherwise.
public struct LoopMetrics: Sendable {
    /// How long the turns took, without waiting for something to happen.
    public var turns = Histogram(.seconds)
    /// The longest turn of the last ten seconds, in microseconds.
    public var longestMicroseconds: UInt64 = 0

    /// No turn yet.
    public init() {}

    func writeMetrics(into out: inout MetricsWriter) {
        out.histogram("loop_turn_seconds", "Turns of the event loop, without the wait before each.", turns)
        out.gauge(
            "loop_longest_turn_seconds", "The longest turn of the last ten seconds.",
            microseconds: Int64(clamping: longestMicroseconds))
    }
}

/// The socket for datagrams, since the start.
public struct DatagramMetrics: Sendable {
    /// Refused for want of room in the socket's buffer.
    public var dropped = 0
    /// Refused for another reason, such as an unreachable network.
    public var errors = 0

    /// Nothing sent yet.
    public init() {}

    func writeMetrics(into out: inout MetricsWriter) {
        out.counter("datagrams_unsent_total", "Datagrams that the system had no room for.", dropped)
        out.counter("datagram_errors_total", "Datagrams that the system refused to send or receive.", errors)
    }
}
