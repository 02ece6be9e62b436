internal import Gossip
internal import NodeCore
internal import Transport

/// What the shell measures for `/health` and `/metrics`: times are measured here, counts are collected from the sockets
/// when somebody asks.
final class Meters {
    private let loop: EventLoop
    private let server: ClientServer
    private let links: Links
    private var turns = Histogram(.seconds)
    private var http = HTTPMetrics()

    /// Meters on these, from here on.
    init(_ loop: EventLoop, _ server: ClientServer, _ links: Links) {
        self.loop = loop
        self.server = server
        self.links = links
        server.onAnswer = { [unowned self] route, status, since in
            http.answered(RouteGroup(rawValue: route) ?? .other, status: status, since: since, turn: self.loop.now)
        }
        loop.onTurnMeasured = { [unowned self] took in
            turns.observe(took)
            http.turnEnded(now: self.loop.now &+ took, took: took)
        }
    }

    /// Everything, as it stands now.
    func read(_ datagrams: DatagramSocket, disk: DiskHealth?) -> ShellMetrics {
        var all = ShellMetrics()
        all.loop.turns = turns
        all.loop.longestMicroseconds = loop.longestTurn()
        all.clients = clients
        all.links = peers
        all.datagrams.dropped = datagrams.counters.dropped
        all.datagrams.errors = datagrams.counters.errors
        all.disk = disk
        return all
    }

    private var clients: ClientMetrics {
        let seen = server.counters
        var all = ClientMetrics()
        all.connections = seen.open
        all.accepted = seen.accepted
        all.refused = seen.refusedConnections
        all.webSockets = seen.webSockets
        all.eventStreams = seen.eventStreams
        all.badRequests = seen.badRequests
        all.messages = seen.messages
        all.badFrames = seen.badFrames
        all.bytesIn = seen.bytesIn
        all.bytesOut = seen.bytesOut
        all.deliveries = seen.deliveries
        all.slowSubscribers = seen.slowSubscribers
        all.sendErrors = seen.sendErrors
        all.timeouts = seen.timeouts
        all.http = http
        return all
    }

    private var peers: LinkMetrics {
        let seen = links.counters
        var all = LinkMetrics()
        all.open = seen.open
        all.dialsFailed = seen.dialsFailed
        all.refused = seen.refused
        all.framesIn = seen.framesIn
        all.framesOut = seen.framesOut
        all.bytesIn = seen.bytesIn
        all.bytesOut = seen.bytesOut
        all.oversized = seen.oversized
        all.overflowed = seen.overflowed
        all.errors = seen.errors
        all.links = links.traffic.map { link in
            LinkMetrics.Link(
                id: LinkID(link.id.rawValue), bytesIn: link.bytesIn, bytesOut: link.bytesOut, framesIn: link.framesIn,
                framesOut: link.framesOut, unsentBytes: link.unsentBytes)
        }
        return all
    }
}
