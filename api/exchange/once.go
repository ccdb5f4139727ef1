package exchange

// Once is what is made of a call's body, by read when it is first asked for: a body can be
// read but once, and a route may look at it before its handler does.
func Once[R any](c *Call, read func(*R)) *R {
	r, _ := c.Read.(*R)
	if r == nil {
		r = new(R)
		read(r)
		c.Read = r
	}
	return r
}
