import Gossip

extension NodeCore {
    /// Entries of all logs that are held here.
    public var entryCount: Int { cluster.log.end - cluster.log.start }
}
