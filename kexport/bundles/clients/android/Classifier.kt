package dev.kexport.classifier

import android.content.Context
import android.graphics.Bitmap
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel

/** One class of an image: its name, its index, and what the output says of it. */
data class Guess(val name: String, val index: Int, val value: Float)

/**
 * The model of this module's assets. Loading takes a while: once, off the main thread; `close` frees it.
 *
 * `Classifier(context).use { it.classify(bitmap) }`
 */
class Classifier(context: Context, accelerator: Accelerator = Accelerator.CPU) : AutoCloseable {
    val contract = Contract.read(context.assets)
    val images = Images(contract)
    private val labels = runCatching { context.assets.open("labels.txt").bufferedReader().use { it.readLines() } }
        .getOrDefault(emptyList())
    private val model =
        CompiledModel.create(context.assets, contract.modelFile, CompiledModel.Options(accelerator))
    private val inputs = model.createInputBuffers()
    private val outputs = model.createOutputBuffers()

    /** The likeliest classes of an upright bitmap of any size. */
    fun classify(bitmap: Bitmap, top: Int = 5): List<Guess> {
        val values = run(images.prepared(images.fitted(images.of(bitmap))))
        return values.indices.sortedByDescending { values[it] }.take(top)
            .map { Guess(labels.getOrElse(it) { index -> "class $index" }, it, values[it]) }
    }

    /** The first output, in real numbers, for the real numbers of an input. */
    fun run(values: FloatArray): FloatArray {
        if (contract.input.type == "float32") inputs[0].writeFloat(values) else inputs[0].writeInt8(images.steps(values))
        model.run(inputs, outputs)
        val output = contract.outputs[0]
        if (output.type == "float32") return outputs[0].readFloat()
        return outputs[0].readInt8().map { byte ->
            val integer = if (output.type == "uint8") byte.toInt() and 255 else byte.toInt()
            ((integer - output.zeroPoint) * output.scale).toFloat()
        }.toFloatArray()
    }

    override fun close() {
        (inputs + outputs).forEach { it.close() }
        model.close()
    }
}
