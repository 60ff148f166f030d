// A round with Node's clients: write COUNT records, read them in a group, print what was read.
//
//   node round.mjs kafkajs|platformatic ADDRESS TOPIC COUNT
const [client, address, topic, counted] = process.argv.slice(2)
const count = Number(counted)
const numbers = Array.from({ length: count }, (_, index) => index)

async function kafkajs() {
  const { Kafka, CompressionTypes, logLevel } = (await import('kafkajs')).default
  const kafka = new Kafka({ brokers: [address], logLevel: logLevel.ERROR })
  const producer = kafka.producer({ idempotent: true })
  await producer.connect()
  const messages = numbers.map(n => ({ key: `k${n}`, value: `v${n}`, headers: { n: String(n) } }))
  await producer.send({ topic, messages, acks: -1, compression: CompressionTypes.GZIP })
  await producer.disconnect()

  const consumer = kafka.consumer({ groupId: 'kafkajs' })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await new Promise(resolve => {
    let seen = 0
    consumer.run({
      eachMessage: async ({ message }) => {
        console.log(`${message.key} ${message.value} ${message.headers.n}`)
        if (++seen === count) resolve()
      }
    })
  })
  await consumer.disconnect()
}

async function platformatic() {
  const { Producer, Consumer, stringSerializers, stringDeserializers } = await import('@platformatic/kafka')
  const producer = new Producer({ clientId: 'p', bootstrapBrokers: [address], serializers: stringSerializers, autocreateTopics: true })
  await producer.send({ messages: numbers.map(n => ({ topic, key: `k${n}`, value: `v${n}`, headers: { n: String(n) } })) })
  await producer.close()

  const consumer = new Consumer({ groupId: 'platformatic', clientId: 'c', bootstrapBrokers: [address], deserializers: stringDeserializers })
  const stream = await consumer.consume({ topics: [topic], mode: 'earliest', autocommit: true, sessionTimeout: 10000, heartbeatInterval: 500 })
  let seen = 0
  for await (const message of stream) {
    console.log(`${message.key} ${message.value} ${message.headers.get('n')}`)
    if (++seen === count) break
  }
  await stream.close()
  await consumer.close(true)
}

await { kafkajs, platformatic }[client]()
process.exit(0)
