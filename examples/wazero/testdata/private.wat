;; A guest with a global that it does not export, like most that a compiler made
;; (a C program's stack pointer is one).
(module
  (memory (export "memory") 1)
  (global $count (mut i32) (i32.const 0))
  (func (export "next") (result i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (global.get $count)))
