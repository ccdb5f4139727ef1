package wire

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
)

// A color is an enum.
type color int32

func (color) EnumNames() string { return "RED=1,BLUE=-2" }

// A leaf has something required, a tree something of each kind.
type leaf struct {
	ID   string  `wire:"1,id,required"`
	Size float64 `wire:"2,size,required,milli"`
}

type tree struct {
	Text     *string          `wire:"1,text"`
	Data     []byte           `wire:"2,data"`
	Flag     *bool            `wire:"3,flag,default=true"`
	Old      *bool            `wire:"4,old,deprecated,default=true"`
	Short    *int32           `wire:"5,short"`
	Long     *int64           `wire:"6,long"`
	Count    *uint32          `wire:"7,count"`
	Total    *uint64          `wire:"8,total"`
	Ratio    *float64         `wire:"9,ratio,default=5"`
	Color    *color           `wire:"10,color"`
	Leaf     *leaf            `wire:"11,leaf"`
	Words    []string         `wire:"12,words"`
	Numbers  []int64          `wire:"13,numbers"`
	Colors   []color          `wire:"14,colors"`
	Leaves   []*leaf          `wire:"15,leaves"`
	Named    map[string]*leaf `wire:"16,named"`
	Inner    *tree            `wire:"17,inner"`
	Trees    []*tree          `wire:"1000,trees"`
	Chunks   [][]byte         `wire:"18,chunks"`
	Doubles  []float64        `wire:"19,doubles"`
	Flags    []bool           `wire:"20,flags"`
	Required *need            `wire:"21,need"`
}

type need struct {
	Leaf  *leaf  `wire:"3,leaf,required"`
	Color color  `wire:"1,color,required"`
	Key   []byte `wire:"2,key,required"`
}

// TestTheDialectOfJSON: what is accepted, and what it is then.
func TestTheDialectOfJSON(t *testing.T) {
	for _, c := range []struct{ in, out string }{
		// What is set by default is written, unless it is deprecated.
		{`{}`, `{"flag":true,"ratio":5.0}`},
		{`{"flag":null,"text":null,"leaf":null,"words":null,"named":null}`, `{"flag":true,"ratio":5.0}`},
		{`{"words":["a",null,"b"],"leaves":[null],"named":{"a":null}}`, `{"flag":true,"ratio":5.0,"words":["a","b"]}`},
		{`{"words":[],"named":{},"leaves":[]}`, `{"flag":true,"ratio":5.0}`},
		// What is unknown is skipped.
		{`{"new":{"a":[1,{"b":null}],"c":"\u00e9"},"flag":false}`, `{"flag":false,"ratio":5.0}`},
		{`{"color":"GREEN","colors":["RED","GREEN","BLUE"]}`, `{"flag":true,"ratio":5.0,"colors":["RED","BLUE"]}`},
		{`{"color":"BLUE"}`, `{"flag":true,"ratio":5.0,"color":"BLUE"}`},
		// Scalars may be strings.
		{`{"short":"-7","total":"18446744073709551615","ratio":"0.5","flag":"false"}`, `{"flag":false,"short":-7,"total":18446744073709551615,"ratio":0.5}`},
		{`{"numbers":["1",2,3.0]}`, `{"flag":true,"ratio":5.0,"numbers":[1,2,3]}`},
		// A fraction is lost where there is none; 64 bits are kept.
		{`{"short":1.9,"long":-9223372036854775808,"count":4294967295}`, `{"flag":true,"short":1,"long":-9223372036854775808,"count":4294967295,"ratio":5.0}`},
		{`{"long":1e3,"total":1.5e3,"short":-0.5}`, `{"flag":true,"short":0,"long":1000,"total":1500,"ratio":5.0}`},
		// Doubles show that they are.
		{`{"ratio":1e300}`, `{"flag":true,"ratio":1e+300}`},
		{`{"ratio":100000000000000000000}`, `{"flag":true,"ratio":100000000000000000000.0}`},
		{`{"ratio":0.000001}`, `{"flag":true,"ratio":0.000001}`},
		{`{"ratio":Infinity}`, `{"flag":true,"ratio":Infinity}`},
		{`{"ratio":"-Infinity"}`, `{"flag":true,"ratio":-Infinity}`},
		{`{"ratio":NaN}`, `{"flag":true,"ratio":NaN}`},
		{`{"ratio":-0}`, `{"flag":true,"ratio":-0.0}`},
		// Scalars of resources have three digits.
		{`{"leaf":{"id":"a","size":0.30000000000000004}}`, `{"flag":true,"ratio":5.0,"leaf":{"id":"a","size":0.3}}`},
		{`{"leaf":{"id":"a","size":1.0005}}`, `{"flag":true,"ratio":5.0,"leaf":{"id":"a","size":1.001}}`},
		{`{"leaf":{"id":"a","size":Infinity}}`, `{"flag":true,"ratio":5.0,"leaf":{"id":"a","size":Infinity}}`},
		{`{"leaf":{"id":"a","size":"-2.5"}}`, `{"flag":true,"ratio":5.0,"leaf":{"id":"a","size":-2.5}}`},
		// Bytes are base64, padded or not.
		{`{"data":"aGk=","chunks":["aA",""]}`, `{"data":"aGk=","flag":true,"ratio":5.0,"chunks":["aA==",""]}`},
		{`{"data":""}`, `{"data":"","flag":true,"ratio":5.0}`},
		// Of one name twice, the last counts.
		{`{"text":"a","text":"b"}`, `{"text":"b","flag":true,"ratio":5.0}`},
		{`{"text":"a","text":null}`, `{"flag":true,"ratio":5.0}`},
		{`{"words":["a"],"words":["b"],"leaf":{"id":"a","size":1},"leaf":{"id":"b","size":2}}`, `{"flag":true,"ratio":5.0,"leaf":{"id":"b","size":2.0},"words":["b"]}`},
		{`{"named":{"a":{"id":"a","size":1},"a":{"id":"b","size":2}}}`, `{"flag":true,"ratio":5.0,"named":{"a":{"id":"b","size":2.0}}}`},
		// One value is a list of one, as Mesos has it.
		{`{"words":"a","leaves":{"id":"a","size":1}}`, `{"flag":true,"ratio":5.0,"words":["a"],"leaves":[{"id":"a","size":1.0}]}`},
		// Maps are objects, written in the order of their keys.
		{`{"named":{"b\"":{"id":"1","size":1},"":{"id":"2","size":2}}}`, `{"flag":true,"ratio":5.0,"named":{"":{"id":"2","size":2.0},"b\"":{"id":"1","size":1.0}}}`},
		// Strings.
		{`{"text":"a\/\u00e9\ud834\udd1e\n\u0000\u007f\\\""}`, `{"text":"a/é𝄞\n\u0000` + "\x7f" + `\\\"","flag":true,"ratio":5.0}`},
		{" {\t\"text\"\r\n: \"<&>\u2028\" } ", "{\"text\":\"<&>\u2028\",\"flag\":true,\"ratio\":5.0}"},
		// Fields are written in the order in which they are declared.
		{`{"need":{"key":"","color":"RED","leaf":{"size":1,"id":""}}}`, `{"flag":true,"ratio":5.0,"need":{"leaf":{"id":"","size":1.0},"color":"RED","key":""}}`},
	} {
		var m tree
		if err := Unmarshal(JSON, []byte(c.in), &m); err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		got, err := Marshal(JSON, &m)
		if err != nil || string(got) != c.out {
			t.Errorf("%s: %v, is\n%s, want\n%s", c.in, err, got, c.out)
		}
		b, err := Marshal(Protobuf, &m)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
		}
		var again tree
		if err := Unmarshal(Protobuf, b, &again); err != nil {
			t.Errorf("%s: protobuf: %v", c.in, err)
		}
		if got, err := Marshal(JSON, &again); err != nil || string(got) != c.out {
			t.Errorf("%s: protobuf: %v, is\n%s, want\n%s", c.in, err, got, c.out)
		}
	}
}

func TestJSONThatIsRefused(t *testing.T) {
	deep := func(n int) string { return strings.Repeat(`{"inner":`, n) + `{}` + strings.Repeat(`}`, n) }
	for _, c := range []struct{ in, want string }{
		{``, "byte 0: not a value of JSON"},
		{`[]`, "Expecting a JSON object"},
		{`"a"`, "Expecting a JSON object"},
		{`{`, `byte 1: a name in quotes is missing`},
		{`{"text"}`, `byte 7: ':' is missing`},
		{`{"text":}`, "byte 8: not a value of JSON"},
		{`{"text":"a",}`, "byte 12: a value is missing after the comma"},
		{`{"text":"a" "flag":true}`, "byte 12: a comma or '}' is missing"},
		{`{"text":"a"} x`, "byte 13: there is more after the end"},
		{`{"text":"a`, "byte 10: a string has no end"},
		{`{"text":"\`, "a string has no end"},
		{`{"text":"\x"}`, "there is no such escape"},
		{`{"text":"\u12g4"}`, "four hexadecimal digits are missing"},
		{`{"text":"\ud834"}`, "half of a surrogate pair"},
		{`{"text":"\udd1e\ud834"}`, "half of a surrogate pair"},
		{"{\"text\":\"\n\"}", "a control character in a string has to be escaped"},
		{"{\"text\":\"\xff\"}", "not valid UTF-8"},
		{"{\"text\":\"\\n\xc0\x80\"}", "not valid UTF-8"},
		{"{\"new\":\"\xff\"}", "not valid UTF-8"},
		{`{"flag":tru}`, "not a value of JSON"},
		{`{"short":01}`, "not a value of JSON"},
		{`{"short":+1}`, "not a value of JSON"},
		{`{"short":1.}`, "no digit after its point"},
		{`{"short":1e}`, "no digit in its exponent"},
		{`{"new":` + strings.Repeat("[", 101) + strings.Repeat("]", 101) + `}`, "nested too deep"},
		{deep(100), "byte 900: nested too deep"},
		{`{"text":1}`, "Not expecting a JSON number for field 'text'"},
		{`{"text":true}`, "Not expecting a JSON boolean for field 'text'"},
		{`{"text":{}}`, "Not expecting a JSON object for field 'text'"},
		{`{"text":[]}`, "Not expecting a JSON array for field 'text'"},
		{`{"words":[["a"]]}`, "Not expecting a JSON array for field 'words'"},
		{`{"leaf":"a"}`, "Not expecting a JSON string for field 'leaf'"},
		{`{"leaf":[]}`, "Not expecting a JSON array for field 'leaf'"},
		{`{"named":[]}`, "Not expecting a JSON array for field 'named'"},
		{`{"named":{"a":1}}`, "Expecting a JSON object for field 'named'"},
		{`{"color":1}`, "Not expecting a JSON number for field 'color'"},
		{`{"flag":1}`, "Not expecting a JSON number for field 'flag'"},
		{`{"flag":"yes"}`, `Failed to parse "yes" as a JSON boolean for field 'flag'`},
		{`{"short":"7a"}`, `Failed to parse "7a" as a JSON number for field 'short'`},
		{`{"short":""}`, `Failed to parse "" as a JSON number for field 'short'`},
		{`{"short":2147483648}`, "Out of range: 2147483648 for field 'short'"},
		{`{"count":-1}`, "Out of range: -1 for field 'count'"},
		{`{"long":9223372036854775808}`, "Out of range"},
		{`{"total":1e20}`, "Out of range"},
		{`{"long":NaN}`, "Out of range"},
		{`{"ratio":1e999}`, "Out of range: 1e999 for field 'ratio'"},
		{`{"data":"*"}`, "Failed to base64 decode bytes for field 'data'"},
		{`{"need":{"color":"GREEN","key":"","leaf":{"id":"","size":1}}}`, `Failed to find enum "GREEN" for field 'need.color'`},
		{`{"trees":[{},{"inner":{"short":true}}]}`, "for field 'trees[1].inner.short'"},
		// What is not JSON is that first of all.
		{`{"text":1,"flag":tru}`, "byte 17: not a value of JSON"},
	} {
		m := tree{Text: new("before")}
		err := Unmarshal(JSON, []byte(c.in), &m)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s: %v, want %s", c.in, err, c.want)
		}
		if !reflect.DeepEqual(m, tree{}) {
			t.Errorf("%.60s: something is left: %+v", c.in, m)
		}
	}
	if err := Unmarshal(JSON, []byte(deep(99)), &tree{}); err != nil {
		t.Errorf("100 messages in each other: %v", err)
	}
}

// TestWhatIsMissing: required fields that are not there are named, in both forms,
// those of the message first.
func TestWhatIsMissing(t *testing.T) {
	for _, c := range []struct{ json, proto, want string }{
		{`{"leaf":{}}`, "5a00", "leaf.id, leaf.size"},
		{`{"leaf":{"id":null,"size":1}}`, "5a0911000000000000f03f", "leaf.id"},
		{`{"leaves":[{"id":"","size":1},{"id":""}]}`, "7a0b0a0011000000000000f03f7a020a00", "leaves[1].size"},
		{`{"need":{"leaf":{}}}`, "aa01021a00", "need.color, need.key, need.leaf.id, need.leaf.size"},
		{`{"named":{"x":{"id":"a"}}}`, "8201080a017812030a0161", `named["x"].size`},
		{`{"named":{"x":{}}}`, "8201030a0178", `named["x"].id, named["x"].size`},
	} {
		raw, err := hex.DecodeString(c.proto)
		if err != nil {
			t.Fatal(err)
		}
		for f, data := range map[Format][]byte{JSON: []byte(c.json), Protobuf: raw} {
			var m tree
			var missing *NotInitialized
			err := Unmarshal(f, data, &m)
			if !errors.As(err, &missing) || err.Error() != "Not initialized: "+c.want {
				t.Errorf("%v %s: %v, want %s", f, c.json, err, c.want)
			}
		}
	}
	err := Unmarshal(JSON, []byte(`{"leaf":{"id":"a","size":1,"id":null}}`), &tree{})
	if err == nil || err.Error() != "Not initialized: leaf.id" {
		t.Errorf("required, and null at last: %v", err)
	}
	err = Unmarshal(JSON, []byte(`{"trees":[`+strings.Repeat(`{"need":{}},`, 1000)+`{}]}`), &tree{})
	if err == nil || strings.Count(err.Error(), ",") != maxMissing-1 {
		t.Errorf("not %d fields are named: %v", maxMissing, err)
	}
	// What Go can leave out is noted when it is written, too.
	for _, f := range []Format{JSON, Protobuf} {
		if _, err := Marshal(f, &tree{Trees: []*tree{{}, {Required: &need{Color: 1}}}}); err == nil || err.Error() != "tree: Not initialized: trees[1].need.leaf" {
			t.Errorf("%v: %v", f, err)
		}
		if _, err := Marshal(f, &tree{Color: new(color(7))}); (err == nil) != (f == Protobuf) {
			t.Errorf("%v: a color without a name: %v", f, err)
		}
	}
}

// TestProtobuf: what is accepted, and what it is in JSON then.
func TestProtobuf(t *testing.T) {
	const none = `{"flag":true,"ratio":5.0}`
	after := func(fields string) string { return strings.Replace(none, "}", ","+fields+"}", 1) }
	for _, c := range []struct{ name, hex, want string }{
		{"nothing", "", none},
		{"unpacked", "680168026803", after(`"numbers":[1,2,3]`)},
		{"packed", "6a03010203", after(`"numbers":[1,2,3]`)},
		{"both", "68016a020203", after(`"numbers":[1,2,3]`)},
		{"packed doubles", "9a0108000000000000f03f", after(`"doubles":[1.0]`)},
		{"packed enums, of which one is unknown", "720c01feffffffffffffffff0107", after(`"colors":["RED","BLUE"]`)},
		{"an unknown enum", "5007", none},
		{"an unknown field of each type", "f83f01" + "f93f0000000000000000" + "fa3f0161" + "fd3f00000000", none},
		{"an unknown group", "fb3f0801fb3ffc3ffc3f", none},
		{"the last of two", "28012802", `{"flag":true,"short":2,"ratio":5.0}`},
		{"an int32 of ten bytes", "28ffffffffffffffffff01", `{"flag":true,"short":-1,"ratio":5.0}`},
		{"an int32 of which the upper half is lost", "2880808080808001", `{"flag":true,"short":0,"ratio":5.0}`},
		{"a message in two pieces", "5a030a0161" + "5a0911000000000000f03f", after(`"leaf":{"id":"a","size":1.0}`)},
		{"pieces with others between and after", "5a030a0161" + "2801" + "5a0911000000000000f03f" + "6802" + "0a0178",
			`{"text":"x","flag":true,"short":1,"ratio":5.0,"leaf":{"id":"a","size":1.0},"numbers":[2]}`},
		{"pieces of pieces", "8a01055a030a0161" + "8a010b5a0911000000000000f03f", after(`"inner":` + after(`"leaf":{"id":"a","size":1.0}`))},
		{"a map in any order, and the last of two", "820111120c0a016111000000000000f03f0a0178" + "8201110a0178120c0a016211000000000000f03f",
			after(`"named":{"x":{"id":"b","size":1.0}}`)},
		{"an entry without a key", "82010e120c0a016111000000000000f03f", after(`"named":{"":{"id":"a","size":1.0}}`)},
		{"an entry that is more", "820111120c0a016111000000000000f03f1a0178", after(`"named":{"":{"id":"a","size":1.0}}`)},
	} {
		raw, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(err)
		}
		var m tree
		if err := Unmarshal(Protobuf, raw, &m); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if hex.EncodeToString(raw) != c.hex {
			t.Errorf("%s: what was read is %x now", c.name, raw)
		}
		if got, err := Marshal(JSON, &m); err != nil || string(got) != c.want {
			t.Errorf("%s: %v, %s, want %s", c.name, err, got, c.want)
		}
	}
}

func TestProtobufThatIsRefused(t *testing.T) {
	deep := []byte{}
	for range 100 {
		deep = append([]byte{0x8a, 1}, append(lengthOf(deep), deep...)...)
	}
	for _, c := range []struct{ name, hex, want string }{
		{"a tag cut off", "80", "byte 0: unexpected EOF"},
		{"a field of number 0", "0001", "byte 0: invalid field number"},
		{"a varint cut off", "0a0161" + "2880", "byte 3: unexpected EOF"},
		{"a varint of eleven bytes", "28ffffffffffffffffffff01", "variable length integer overflow"},
		{"a length beyond the end", "0a05616263", "unexpected EOF"},
		{"a length beyond any", "0affffffffffffffffff01", "byte 0: "},
		{"a double cut off", "4900", "unexpected EOF"},
		{"the end of a group that never began", "fc3f", "mismatching end group marker"},
		{"a group without an end", "fb3f0801", "unexpected EOF"},
		{"text as a varint", "0801", "Wrong wire type for field 'text'"},
		{"a number as bytes", "2a0101", "Wrong wire type for field 'short'"},
		{"a message as a varint", "5801", "Wrong wire type for field 'leaf'"},
		{"a double as a varint", "4801", "Wrong wire type for field 'ratio'"},
		{"a packed number cut off", "6a0180", "unexpected EOF"},
		{"text that is not UTF-8", "0a01ff", "Invalid UTF-8 for field 'text'"},
		{"a key that is not UTF-8", "8201030a01ff", "Invalid UTF-8 for field 'named'"},
		{"an entry whose key is a number", "82010408011200", "Wrong wire type for field 'named'"},
		{"an entry cut off", "82010112", "unexpected EOF"},
		{"deep within", "8a01038a0101", "unexpected EOF"},
		{"101 messages in each other", hex.EncodeToString(deep), "Nested too deep for field 'inner."},
	} {
		raw, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(err)
		}
		m := tree{Text: new("before")}
		err = Unmarshal(Protobuf, raw, &m)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
		if !reflect.DeepEqual(m, tree{}) {
			t.Errorf("%s: something is left: %+v", c.name, m)
		}
	}
	if err := Unmarshal(Protobuf, deep[2+len(lengthOf(deep)):], &tree{}); err != nil {
		t.Errorf("100 messages in each other: %v", err)
	}
}

// lengthOf returns the length of b as a varint.
func lengthOf(b []byte) (out []byte) {
	n := len(b)
	for ; n > 127; n >>= 7 {
		out = append(out, byte(n)|0x80)
	}
	return append(out, byte(n))
}

// A message that is sent in two pieces at each depth is read in the time that
// its size takes: were each read twice, this would take longer than there is.
func TestPiecesOfPiecesAreReadOnce(t *testing.T) {
	b := []byte{}
	for range 95 {
		b = append([]byte{0x8a, 1}, append(lengthOf(b), b...)...)
		b = append(b, 0x8a, 1, 0)
	}
	if err := Unmarshal(Protobuf, b, &tree{}); err != nil {
		t.Fatal(err)
	}
}

// What is sent in two bytes each must not become memory without end.
func TestEmptyPartsAreBounded(t *testing.T) {
	for f, data := range map[Format][]byte{
		Protobuf: []byte(strings.Repeat("\xc2\x3e\x00", 200_000)),
		JSON:     []byte(`{"trees":[` + strings.Repeat("{},", 200_000) + `{}]}`),
	} {
		if err := Unmarshal(f, data, &tree{}); err == nil || !strings.Contains(err.Error(), "Too many empty parts") {
			t.Errorf("%v: %v", f, err)
		}
	}
}

// What a message held before is gone, and what it is given stays as it is.
func TestAMessageIsReadAnew(t *testing.T) {
	for f, data := range map[Format]string{JSON: `{"short":1}`, Protobuf: "\x28\x01"} {
		m := tree{Text: new("before"), Words: []string{"a"}}
		if err := Unmarshal(f, []byte(data), &m); err != nil || !reflect.DeepEqual(m, tree{Short: new(int32(1))}) {
			t.Errorf("%v: %+v, %v", f, m, err)
		}
	}
}

// Text that is not UTF-8 is none in JSON either.
func TestTextOfOursThatIsNotUTF8(t *testing.T) {
	b, err := Marshal(JSON, &tree{Text: new("a\xffb\xe2\x82é\xc3")})
	if want := "{\"text\":\"a\ufffdb\ufffd\ufffdé\ufffd\",\"flag\":true,\"ratio\":5.0}"; err != nil || string(b) != want {
		t.Errorf("%s, %v, want %s", b, err, want)
	}
}

func TestThousandths(t *testing.T) {
	for _, c := range []struct{ in, want float64 }{
		{0.1 + 0.2, 0.3}, {1.0004, 1}, {-1.0006, -1.001}, {1e300, 1e300}, {math.Inf(-1), math.Inf(-1)}, {9007199254740993, 9007199254740993},
	} {
		if got := thousandths(c.in); got != c.want {
			t.Errorf("%v is %v, want %v", c.in, got, c.want)
		}
	}
}

func TestTagsThatAreWrongPanic(t *testing.T) {
	for _, m := range []any{
		&struct{ A string }{},
		&struct {
			A string `wire:"1"`
		}{},
		&struct {
			A string `wire:"1,a,needed"`
		}{},
		&struct {
			A float32 `wire:"1,a"`
		}{},
	} {
		func() {
			defer func() {
				if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "wire: field") {
					t.Errorf("%T: %v", m, r)
				}
			}()
			_, _ = Marshal(JSON, m)
		}()
	}
}
