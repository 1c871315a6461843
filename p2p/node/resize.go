package node

// Resize changes how many pieces are sent and taken at a time to what c says; the rest of
// c is left alone. What is on its way is finished.
func (n *Node) Resize(c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.slots.Resize(c.Upload.Slots)
	n.core.Resize(c.Download.Slots, c.Download.MaxSlots)
	n.callLocked() // those who wait for a slot
	n.tellVacantLocked()
	n.pollLocked()
	return nil
}
