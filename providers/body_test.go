package providers

import "testing"

func TestToken(t *testing.T) {
	tests := []struct{ name, body, want, text string }{
		{"plain", `{"token":"abc"}`, "abc", ""},
		{"with the rest", ` {"a":[1,{"token":"x"}],"token":"abc","date":null} ` + "\n", "abc", ""},
		{"other case", `{"Token":"abc"}`, "abc", ""},
		{"exact case first", `{"TOKEN":"a","token":"abc","Token":"b"}`, "abc", ""},
		{"other cases, the same one each time", `{"tOKEN":"b","Token":"abc"}`, "abc", ""},
		{"twice", `{"token":"a","token":"abc"}`, "abc", ""},
		{"byte order mark", "\ufeff" + `{"token":"abc"}`, "abc", ""},
		{"invalid UTF-8 elsewhere", "{\"x\":\"\xff\",\"token\":\"abc\"}", "abc", ""},
		{"any printable", `{"token":"!~az/+=.\u0041"}`, "!~az/+=.A", ""},
		{"empty body", ``, "", "an empty body"},
		{"white space", " \n", "", "an empty body"},
		{"page", htmlBody, "", `an HTML page: "Attention Required!"`},
		{"bare text", `abc`, "", "no JSON object"},
		{"string", `"abc"`, "", "no JSON object"},
		{"null", `null`, "", "no JSON object"},
		{"list", `[{"token":"abc"}]`, "", "no JSON object"},
		{"cut off", `{"token":"abc"`, "", "no JSON object"},
		{"trailing garbage", `{"token":"abc"}x`, "", "no JSON object"},
		{"two objects", `{"token":"abc"}{}`, "", "no JSON object"},
		{"no token", `{}`, "", "there is none"},
		{"null token", `{"token":null}`, "", "there is none"},
		{"empty token", `{"token":""}`, "", "there is none"},
		{"number", `{"token":1}`, "", `"token" is not a string`},
		{"object", `{"token":{"token":"abc"}}`, "", `"token" is not a string`},
		{"line end", `{"token":"abc\n"}`, "", "byte 4 of 4 is 0x0a"},
		{"header injection", `{"token":"abc\r\nX: y"}`, "", "byte 4 of 9 is 0x0d"},
		{"space", `{"token":"a bc"}`, "", "byte 2 of 4 is 0x20"},
		{"NUL", `{"token":"\u0000"}`, "", "byte 1 of 1 is 0x00"},
		{"DEL", `{"token":"a\u007f"}`, "", "0x7f"},
		{"not ASCII", `{"token":"токен"}`, "", "byte 1 of 10 is 0xd1"},
		{"invalid UTF-8", "{\"token\":\"a\xff\"}", "", "byte 2 of 4 is 0xef"},
		{"what it says instead", `{"message":"try later"}`, "", `HTTP 200 OK: "try later"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a, err := testCaller(t, serve(t, reply(200, test.body))).post(t.Context(), request{})
			if err != nil {
				t.Fatal(err)
			}
			token, err := a.token("token")
			if test.text == "" {
				if err != nil || token.Reveal() != test.want {
					t.Errorf("token %q, error %v", token.Reveal(), err)
				}
				return
			}
			wantError(t, err, Malformed, "testkind answered without a", test.text)
		})
	}
}

func TestTokenOfAnotherName(t *testing.T) {
	a, err := testCaller(t, serve(t, reply(200, `{"access":"abc","refresh":"def"}`))).post(t.Context(), request{})
	if err != nil {
		t.Fatal(err)
	}
	if token, err := a.token("access"); err != nil || token.Reveal() != "abc" {
		t.Errorf("token %q, error %v", token.Reveal(), err)
	}
}

func TestFields(t *testing.T) {
	o, err := parseObject([]byte(`{"a":7,"b":"08","c":1.5,"d":" 9 ","e":null,"f":[],"G":-1,"h":1e2,"list":[1,{"a":1},"x",{"a":2}],"no":{"a":1}}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"a": 7, "b": 8, "d": 9, "g": -1} {
		if n, ok := o.number(name); !ok || n != want {
			t.Errorf("%s is %d %v, want %d", name, n, ok, want)
		}
	}
	for _, name := range []string{"c", "e", "f", "h", "none"} {
		if n, ok := o.number(name); ok {
			t.Errorf("%s is %d, want no number", name, n)
		}
	}
	if list := o.objects("list"); len(list) != 2 {
		t.Errorf("list has %d objects", len(list))
	}
	if list := o.objects("no"); list != nil {
		t.Errorf("an object is the list %v", list)
	}
}
