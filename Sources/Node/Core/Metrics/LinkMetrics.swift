internal import CRDT
public import Gossip

/// What the transport counts about links to peers, since the start unless said otherwise.
public struct LinkMetrics: Sendable {
    /// One link that stands.
    public struct Link: Sendable {
        /// Its number.
        public var id: LinkID
        /// Bytes read from it.
        public var bytesIn: Int
        /// Bytes given to the system for it.
        public var bytesOut: Int
        /// Frames that came.
        public var framesIn: Int
        /// Frames written to it.
        public var framesOut: Int
        /// Bytes that the system has not taken yet.
        public var unsentBytes: Int

        /// A link from its numbers.
        public init(id: LinkID, bytesIn: Int, bytesOut: Int, framesIn: Int, framesOut: Int, unsentBytes: Int) {
            self.id = id
            self.bytesIn = bytesIn
            self.bytesOut = bytesOut
            self.framesIn = framesIn
            self.framesOut = framesOut
            self.unsentBytes = unsentBytes
        }
    }

    /// Connections that stand now, those included that have not said hello.
    public var open = 0
    /// Dials that failed.
    public var dialsFailed = 0
    /// Connections of others that the limit or the system refused.
    public var refused = 0
    /// Frames that came.
    public var framesIn = 0
    /// Frames that were written.
    public var framesOut = 0
    /// Bytes read.
    public var bytesIn = 0
    /// Bytes given to the system.
    public var bytesOut = 0
    /// Links closed for a frame above the limit.
    public var oversized = 0
    /// Links closed because too much waited to be sent.
    public var overflowed = 0
    /// Links that failed.
    public var errors = 0
    /// Those that stand.
    public var links: [Link] = []

    /// No link yet.
    public init() {}

    func writeMetrics(_ cluster: borrowing Cluster, into out: inout MetricsWriter) {
        out.gauge("links", "Open connections between this node and others.", open)
        out.counter("link_received_frames_total", "Frames that came over links.", framesIn)
        out.counter("link_sent_frames_total", "Frames written to links.", framesOut)
        out.counter("link_received_bytes_total", "Bytes read from links.", bytesIn)
        out.counter("link_sent_bytes_total", "Bytes given to the system for links.", bytesOut)
        out.counter("link_dials_failed_total", "Dials that came to nothing.", dialsFailed)
        out.counter(
            "link_connections_refused_total", "Connections of others that the limit or system refused.", refused)
        out.counter("link_oversized_total", "Links closed for a frame above the limit.", oversized)
        out.counter("link_overflowed_total", "Links closed because too much waited to be sent.", overflowed)
        out.counter("link_errors_total", "Links that failed.", errors)
        writePeers(cluster, into: &out)
    }

    /// By peer, each with the one link over which it is spoken to.
    private func writePeers(_ cluster: borrowing Cluster, into out: inout MetricsWriter) {
        var peers: [(name: String, replica: ReplicaID, link: Link?)] = []
        for replica in cluster.mesh.linkedPeers {
            let id = cluster.mesh.link(to: replica)
            let name = cluster.membership.member(replica)?.name ?? ""
            peers.append((name, replica, links.first { $0.id == id }))
        }
        func family(
            _ name: String, _ kind: MetricsWriter.Kind, _ help: String, _ value: (ReplicaID, Link?) -> Int?
        ) {
            out.family(name, kind, help)
            for peer in peers {
                guard let value = value(peer.replica, peer.link) else { continue }
                out.sample(["peer": peer.name, "replica": peer.replica.description], value)
            }
        }
        family("peer_received_frames_total", .counter, "Frames that came over the peer's present link.") {
            $1?.framesIn
        }
        family("peer_sent_frames_total", .counter, "Frames written to the peer's present link.") { $1?.framesOut }
        family("peer_received_bytes_total", .counter, "Bytes read from the peer's present link.") { $1?.bytesIn }
        family("peer_sent_bytes_total", .counter, "Bytes given to the system for the peer's present link.") {
            $1?.bytesOut
        }
        family("peer_unsent_bytes", .gauge, "Bytes for the peer that the system has not taken.") { $1?.unsentBytes }
        let head = cluster.log.head(of: cluster.log.mine)
        let me = cluster.log.me
        let vectors = peers.map { cluster.replication.vector(of: $0.replica)?[me] }
        let replicas = peers.map(\.replica)
        family("peer_unread_entries", .gauge, "Own entries that the peer has not said to have read.") { replica, _ in
            guard let at = replicas.firstIndex(of: replica), let read = vectors[at] else { return nil }
            return Int(head - min(head, read))
        }
    }
}
