// Package wire reads and writes the messages of the Mesos v1 HTTP APIs, in
// both of the forms that they have: protobuf's, and Mesos' own dialect of JSON,
// which is not that of protobuf. It owns the two forms and RecordIO, in which
// messages follow one another on a stream; it knows no message.
//
// A message is a Go struct whose tags say what its fields are:
//
//	Value *float64 `wire:"4,failover_timeout,default=0"`
//
// that is the number, the name, and, of required, deprecated, milli and
// default, what applies. The Go type says the rest: a pointer is optional, a
// slice repeated, a map a map. A milli is a double that counts in thousandths.
// An enum is an int32 with a method EnumNames, NAME=1,NAME=2.
//
// A message that was read has all that is required at any depth, is nested at
// most MaxDepth deep, has valid UTF-8 only, and takes memory in proportion to
// what was sent. What is unknown is skipped.
package wire
