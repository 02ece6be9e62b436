/// What is measured of direct messages, mailboxes and requests that wait for replies.
extension NodeCore {
    var messageMetrics: [(name: String, kind: String, help: String, value: Int)] {
        let count = messageCounters
        return [
            ("mailboxes", "gauge", "Mailboxes that are open.", mailboxes.openCount),
            ("mailboxes_refused_total", "counter", "Mailboxes not opened at the bound.", count.refusedMailboxes),
            ("mailbox_agents", "gauge", "Agents that have sent or been sent a message.", mailboxes.agentCount),
            ("messages_waiting", "gauge", "Messages that may wait in mailboxes.", mailboxes.waitingCount),
            ("messages_shown_total", "counter", "Messages sent to connected receivers.", count.shown),
            ("messages_taken_total", "counter", "Messages taken by clients of this node.", count.taken),
            ("messages_dropped_total", "counter", "Messages dropped from full mailboxes.", count.dropped),
            ("messages_forgotten_total", "counter", "Messages forgotten here at twice that.", mailboxes.forgotten),
            ("messages_unfiled_total", "counter", "Messages for more agents than are noted.", mailboxes.unfiled),
            ("takes_waiting", "gauge", "Takings that wait for another node.", takes.count),
            ("takes_asked_total", "counter", "Takings that had to ask another node.", count.takesAsked),
            ("take_timeouts_total", "counter", "Of them, those in vain.", count.takeTimeouts),
            ("grants", "gauge", "Takings of peers that messages are set aside for.", grants.count),
            ("mailbox_frames_bad_total", "counter", "Frames about mailboxes not understood.", count.badFrames),
            ("reply_waiting", "gauge", "Requests that wait for their reply.", replies.count),
            ("reply_waits_total", "counter", "Requests that waited for their reply.", replies.added),
            ("reply_timeouts_total", "counter", "Of them, those in vain.", replies.timeouts),
            ("reply_refused_total", "counter", "Requests refused as too many waited.", replies.refused),
        ]
    }
}
